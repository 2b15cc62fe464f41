"""scikit-learn's own tests of its MLP, with the import exchanged, and its checks of any estimator."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.utils.estimator_checks import check_estimator

from vgfast.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore")  # which the checks make on purpose

# Those that cannot pass, with the reason.
EXCEPT = {
    "test_gradient": "calls _loss_grad_lbfgs, a private method, with arrays for what scikit-learn's layers keep",
}


def version(text):
    return tuple(int(part) for part in text.split(".")[:2])


@pytest.mark.once
@pytest.mark.skipif(version(sklearn.__version__) < (1, 9), reason="tests of an older scikit-learn ask for other things")
def test_scikit_learns_own_tests_pass(tmp_path):
    spec = importlib.util.find_spec("sklearn.neural_network")
    text = (Path(spec.origin).parent / "tests" / "test_mlp.py").read_text()
    old = "from sklearn.neural_network import MLPClassifier, MLPRegressor"
    assert old in text
    (tmp_path / "test_mlp.py").write_text(text.replace(old, "from vgfast.sklearn import MLPClassifier, MLPRegressor"))
    seed = "import pytest\n\n@pytest.fixture\ndef global_random_seed():\n    return 42\n"
    (tmp_path / "conftest.py").write_text(seed)
    deselect = [f"--deselect=test_mlp.py::{name}" for name in EXCEPT]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *deselect]
    done = subprocess.run([*command, "test_mlp.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 50


@pytest.mark.slow
@pytest.mark.any_isa
@pytest.mark.parametrize(
    ("solver", "max_iter"), [("adam", 30), ("sgd", 100), ("lbfgs", 30)], ids=["adam", "sgd", "lbfgs"]
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_every_check_of_an_estimator_passes(kind, solver, max_iter):
    """With as few iterations as suffice to learn what is asked for."""
    results = check_estimator(kind(solver=solver, max_iter=max_iter), on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in results if one["status"] == "failed"}
    assert failed == {}
    skipped = {one["check_name"] for one in results if one["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}
    assert len(results) > 50
