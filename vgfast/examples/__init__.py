"""Short programs for what people come for, to be read and to be copied from. Each runs, as by
``python -m vgfast.examples.sweep``, and has a ``run(out)`` that returns its numbers.

``sklearn_swap``
    scikit-learn's MLPClassifier, and vgfast's in its place: one import is another.
``policy_gradient``
    Reinforcement learning: a net learns to balance a pole, by a gradient that is given to ``net.backward``.
``parquet``
    A Parquet file as ``fit``'s source, of which some rows at a time are in memory.
``sweep``
    Many trainings to choose from, by scikit-learn, dask, Optuna, pools of processes, or threads.
"""
