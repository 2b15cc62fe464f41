"""Estimators as ONNX models, by skl2onnx's own converters for scikit-learn's MLP, and by their net's own methods."""

import io

import numpy as np
import pytest
from exported_nets import apart, tolerance
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vgfast as vg
from vgfast.sklearn import MLPClassifier, MLPRegressor

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
# Three classes, and two, of which there is one logistic unit.
LABELS = {"numbers": Y, "names": NAMES[Y], "two names": NAMES[Y // 2], "booleans": Y > 0}
LOGISTIC = "identity", "logistic", "tanh", "relu"  # what the converter knows


@pytest.fixture(scope="module", autouse=True)
def converters():
    from skl2onnx.common import shape_calculator as shapes
    from skl2onnx.operator_converters import multilayer_perceptron as mlp

    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [True, False]}
    for kind, shape, converter, more in (
        (MLPClassifier, shapes.calculate_linear_classifier_output_shapes, mlp.convert_sklearn_mlp_classifier, options),
        (MLPRegressor, shapes.calculate_linear_regressor_output_shapes, mlp.convert_sklearn_mlp_regressor, None),
    ):
        skl2onnx.update_registered_converter(kind, f"Vgfast{kind.__name__}", shape, converter, options=more)


def converted(estimator, x):
    options = {id(estimator): {"zipmap": False}} if isinstance(estimator, MLPClassifier) else None
    model = skl2onnx.to_onnx(estimator, x[:1], options=options)
    return run(model.SerializeToString(), x)


def run(data, x):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def fitted(labels, activation="relu", dtype="float32"):
    return MLPClassifier((8, 6), activation=activation, max_iter=8, tol=0, random_state=0).fit(X.astype(dtype), labels)


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", LOGISTIC)
@pytest.mark.parametrize("labels", LABELS)
def test_classifiers_by_the_converter_of_scikit_learns(labels, activation, dtype):
    estimator = fitted(LABELS[labels], activation, dtype)
    for rows in (1, 7, 1000):
        x = np.resize(X, (rows, 4)).astype(dtype)
        label, probabilities = converted(estimator, x)
        assert apart(probabilities, estimator.predict_proba(x)) <= tolerance(estimator.net_)
        assert np.array_equal(label, estimator.predict(x))


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
def test_a_pipeline(dtype):
    x, names = X.astype(dtype), LABELS["names"]
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=8, random_state=0)).fit(x, names)
    options = {id(pipeline): {"zipmap": False}}
    label, probabilities = run(skl2onnx.to_onnx(pipeline, x[:1], options=options).SerializeToString(), x)
    assert apart(probabilities, pipeline.predict_proba(x)) <= tolerance(pipeline[-1].net_)
    assert np.array_equal(label, pipeline.predict(x))


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_out", [1, 2])
def test_regressors_by_the_converter_of_scikit_learns(n_out, dtype):
    x, y = load_diabetes(return_X_y=True)
    x, y = x.astype(dtype), y if n_out == 1 else np.stack([y, np.sqrt(y)], axis=1)
    estimator = MLPRegressor(hidden_layer_sizes=(8, 6), max_iter=20, random_state=0).fit(x, y)
    (values,) = converted(estimator, x)
    assert apart(values.reshape(y.shape), estimator.predict(x)) <= tolerance(estimator.net_)


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("labels", LABELS)
def test_the_net_of_an_estimator(labels, dtype):
    """With any activation, normalization and dropout."""
    kind = {"activation": "mish", "normalization": "layer", "residual": True, "dropout": 0.1}
    estimator = MLPClassifier((8, 8), max_iter=8, random_state=0, **kind).fit(X.astype(dtype), LABELS[labels])
    file, x = io.BytesIO(), X.astype(dtype)
    estimator.net_.to_onnx(file, classes=estimator.classes_)
    label, probabilities = run(file.getvalue(), x)
    assert apart(probabilities, estimator.predict_proba(x)) <= tolerance(estimator.net_)
    assert np.array_equal(label, estimator.predict(x))


@pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning")
def test_the_net_of_an_estimator_in_torch(torch):
    estimator = fitted(LABELS["names"])
    x = X.astype(np.float32)
    with torch.no_grad():
        p = estimator.net_.to_torch()(torch.from_numpy(x)).softmax(1).numpy()
    assert apart(p, estimator.predict_proba(x)) <= tolerance(estimator.net_)
    assert np.array_equal(vg.from_torch(estimator.net_.to_torch()).params, estimator.net_.params)
