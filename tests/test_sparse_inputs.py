"""Sparse matrices as users give them: read whatever their format, or refused in a sentence; never changed."""

import numpy as np
import pytest

import vgfast as vg

sp = pytest.importorskip("scipy.sparse")

RNG = np.random.default_rng(0)
DENSE = np.where(RNG.random((20, 6)) < 0.4, RNG.normal(size=(20, 6)), 0)
Y = np.arange(20) % 3


def csr(dtype=np.float64):
    return sp.csr_matrix(DENSE.astype(dtype))


def trained(X, dtype="float32"):
    net = vg.MLP([6, 8, 3], dtype=dtype, rng=0)
    net.fit(X, Y, 2, 6)
    return net.params.tobytes()


def changed(**arrays):
    """A CSR matrix whose arrays somebody has changed."""
    X = csr()
    for name, value in arrays.items():
        setattr(X, name, value)
    return X


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_every_format(form, kind):
    assert trained(getattr(sp, f"{form}_{kind}")(DENSE)) == trained(DENSE)


@pytest.mark.parametrize("given", ["float64", "float32", "int64", "int8", "uint16", "bool"])
def test_every_type_of_numbers(given):
    dense = (DENSE * 50).astype(given) if given != "uint16" else np.abs(DENSE * 50).astype(given)
    assert trained(sp.csr_matrix(dense), "float64") == trained(dense, "float64")


def test_indices_of_64_bits():
    X = csr()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    assert trained(X) == trained(DENSE)


def test_what_is_unsorted_or_there_twice_is_put_in_order_on_a_copy():
    data, columns, starts = RNG.normal(size=80), np.tile([5, 2, 0, 2], 20), np.arange(0, 84, 4)
    X = sp.csr_matrix((data, columns, starts), (20, 6))
    kept = [a.copy() for a in (X.data, X.indices, X.indptr)]
    dense = X.toarray()
    assert np.count_nonzero(dense) == 60
    assert trained(X) == trained(dense)
    for array, before in zip((X.data, X.indices, X.indptr), kept, strict=True):
        np.testing.assert_array_equal(array, before)
    X.has_canonical_format = True  # whatever it says of itself
    assert trained(X) == trained(dense)


def test_read_only_arrays_and_those_longer_than_what_is_used():
    X = csr()
    for array in (X.data, X.indices, X.indptr):
        array.setflags(write=False)
    assert trained(X) == trained(DENSE)
    longer = changed(data=np.append(csr().data, np.nan), indices=np.append(csr().indices, 99))
    assert trained(longer) == trained(DENSE)


def test_indices_that_change_during_training_are_not_looked_at():
    X = csr()
    net = vg.MLP([6, 8, 3], rng=0)
    net.fit(X, Y, 2, 6, callbacks=[lambda net, history: X.indices.fill(2**30)])
    assert net.params.tobytes() == trained(DENSE)


def with_entry(value):
    X = csr()
    X.data[7] = value
    return X


ROW, COLUMN = (int(numbers[7]) for numbers in csr().nonzero())
BAD = {
    "NaN": (with_entry(np.nan), ValueError, f"X has NaN in row {ROW}, column {COLUMN}, which"),
    "infinity": (with_entry(-np.inf), ValueError, f"X has infinity in row {ROW}, column {COLUMN}, which"),
    "too large": (with_entry(1e300), ValueError, f"row {ROW}, column {COLUMN} that is too large for float32"),
    "columns": (csr()[:, :5], ValueError, "X must have 6 columns, as many as the net has inputs; got 5"),
    "transposed": (csr().T, ValueError, "got 20"),
    "no rows": (csr()[:0], ValueError, "at least one row"),
    "complex": (csr(complex), TypeError, "X must hold real numbers, got dtype complex128; use X.real or abs(X)"),
    "one dimension": (sp.coo_array(DENSE[0]), ValueError, "1 dimension(s), shape (6,); for one sample use X.reshape"),
    "column beyond": (changed(indices=np.full_like(csr().indices, 6)), ValueError, "from 0 to 5, got 6 in row 0"),
    "column below": (changed(indices=csr().indices - 1), ValueError, "column numbers from 0 to 5, got -1 in row"),
    "too few indices": (changed(indices=csr().indices[:-1]), ValueError, "as many indices and data as indptr ends"),
    "too few data": (changed(data=csr().data[:-1]), ValueError, "as many indices and data as indptr ends with"),
    "indptr too short": (changed(indptr=csr().indptr[:-1]), ValueError, "in indptr, 21 numbers"),
    "indptr falls": (changed(indptr=csr().indptr[::-1].copy()), ValueError, "in indptr, 21 numbers from 0 on"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("method", ["fit", "step", "predict", "inspect"])
def test_bad_matrices_are_refused_in_a_sentence(name, method):
    X, error, words = BAD[name]
    net = vg.MLP([6, 8, 3], rng=0)
    before = net.params.tobytes()
    with pytest.raises(error) as caught:
        getattr(net, method)(*((X,) if method == "predict" else (X, Y)))
    assert words in str(caught.value)
    assert net.params.tobytes() == before


def test_the_matrix_is_named():
    with pytest.raises(ValueError, match=r"^validation_data\[0\] has NaN in row"):
        vg.MLP([6, 8, 3], rng=0).fit(csr(), Y, validation_data=(with_entry(np.nan), Y))


def test_advice_works():
    X = csr(complex)
    assert trained(X.real) == trained(DENSE)
    assert vg.MLP([6, 3], rng=0).predict(sp.coo_array(DENSE[0]).reshape(1, -1)).shape == (1,)
    with pytest.raises(ValueError, match=r"use X\.T if it has a sample a column"):
        vg.MLP([20, 3], rng=0).predict(csr())


@pytest.mark.parametrize("method", ["trace", "check_gradient"])
def test_what_takes_only_dense_rows_says_so(method):
    net = vg.MLP([6, 8, 3], rng=0)
    with pytest.raises(TypeError, match=r"must be a dense array, got csr_matrix; use [xX]\.toarray\(\)"):
        getattr(net, method)(1, 0, 0, csr()[:1], Y[:1])


def test_as_many_rows_of_y():
    with pytest.raises(ValueError, match="19"):
        vg.MLP([6, 8, 3], rng=0).fit(csr(), Y[:-1])
