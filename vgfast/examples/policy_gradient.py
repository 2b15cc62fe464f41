"""Reinforcement learning: a net learns to balance a pole, by a gradient that is given to ``backward``.

The loss of a policy gradient is none of a net's own losses: what the outputs are to change by depends on what came of
the actions. So the loop takes three calls: ``forward`` for the outputs, ``backward(X, dz)`` with the derivative of
one's own loss by them, and ``apply`` with an optimizer. (REINFORCE: Williams, "Simple statistical gradient-following
algorithms for connectionist reinforcement learning", 1992. The cart: Barto, Sutton and Anderson, 1983.)
"""

import numpy as np

import vgfast as vg

POLES, STEPS, ROUNDS = 32, 200, 40


def push(state, right):
    """The state (poles, 4) 0.02 s later: of each cart place and speed, of its pole the angle and its speed. right:
    (poles,), whether it is pushed to the right."""
    _, speed, angle, turning = state.T
    sin, cos = np.sin(angle), np.cos(angle)
    force = np.where(right, 10.0, -10.0) + 0.05 * turning**2 * sin
    turn = (9.8 * sin - cos * force / 1.1) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    move = (force - 0.05 * turn * cos) / 1.1
    return state + 0.02 * np.stack([speed, move, turning, turn], axis=1)


def play(net, rng):
    """Of POLES at a time until they fall: states, actions, and how many steps each pole still stood afterwards."""
    state, standing = rng.uniform(-0.05, 0.05, (POLES, 4)), np.ones(POLES, bool)
    states, actions, each = [], [], []
    for _ in range(STEPS):
        chances = net.predict_proba(state)[:, 0]
        right = rng.random(POLES) < chances
        states.append(state)
        actions.append(right)
        each.append(standing)
        state = push(state, right)
        standing = standing & (abs(state[:, 0]) < 2.4) & (abs(state[:, 2]) < 0.21)
        if not standing.any():
            break
    stood = np.array(each)
    left = stood[::-1].cumsum(axis=0)[::-1]
    return np.array(states)[stood], np.array(actions)[stood], left[stood], stood.sum() / POLES


def run(out=print):
    """Rounds of play and one step each; the steps that a pole stands at first and at last."""
    rng = np.random.default_rng(0)
    net, optimizer = vg.MLP([4, 32, 1], "tanh", loss="binary_cross_entropy", rng=0), vg.Adam(0.02)
    lengths = []
    for done in range(ROUNDS):
        X, right, left, length = play(net, rng)
        lengths.append(float(length))
        better = (left - left.mean()) / left.std()
        # d(-log chance of what was done)/dz is chance - done, times how much better than usual it went.
        dz = (net.predict_proba(X)[:, 0] - right) * better / len(X)
        net.apply(net.backward(X, dz[:, None]), optimizer)
        if done % 10 == 9:
            out(f"after {done + 1} rounds a pole stands for {np.mean(lengths[-10:]):.0f} of {STEPS} steps")
    return {"first": float(np.mean(lengths[:5])), "last": float(np.mean(lengths[-5:]))}


if __name__ == "__main__":
    run()
