"""scikit-learn's MLPClassifier, and vgfast's in its place: one import is another.

In a script, only the first of these two lines becomes the second; all parameters and attributes stay:

    from sklearn.neural_network import MLPClassifier
    from vgfast.sklearn import MLPClassifier
"""

import time

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vgfast.sklearn import MLPClassifier


def run(out=print):
    """The same pipeline twice: accuracy on rows that were left out, and seconds."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=600, random_state=0)
    found = {}
    for name, classifier in (("scikit-learn", Theirs), ("vgfast", MLPClassifier)):
        model = make_pipeline(StandardScaler(), classifier((100, 50), random_state=0))
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        found[name] = {"accuracy": model.score(X_test, y_test), "seconds": seconds}
        out(f"{name:12}  accuracy {found[name]['accuracy']:.3f}  in {seconds:.2f} s")
    return found


if __name__ == "__main__":
    run()
