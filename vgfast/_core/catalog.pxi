# What there is: the catalog (csrc/catalog.def), and the names that C's enums and structs have in Python.


cdef tuple in_order(dict places):
    """The names, each at its place: where an enum or a struct of vgfast.h has it."""
    assert sorted(places.values()) == list(range(len(places))), places
    return tuple(sorted(places, key=places.get))


# catalog.def, line by line.
DERIVATIVES = in_order(dict(one=c.VG_ONE, step=c.VG_STEP, leak=c.VG_LEAK, stored=c.VG_STORED))


def activation_facts():
    """Of each activation: (name, alpha, derivative, largest, operations, functions, squashing,
    joint)."""
    cdef const c.vg_activation_facts *f
    cdef int i
    found = []
    for i in range(c.VG_N_ACTIVATIONS):
        f = &c.vg_activations[i]
        derivative = DERIVATIVES[f.derivative]
        counts = f.operations, f.functions
        found.append((f.name.decode(), f.alpha, derivative, f.largest, *counts, bool(f.squashing), f.joint))
    return tuple(found)


def loss_facts():
    """Of each loss: (name, link, operations, functions, row_operations, row_functions)."""
    cdef const c.vg_loss_facts *f
    cdef int i
    found = []
    for i in range(c.VG_N_LOSSES):
        f = &c.vg_losses[i]
        link = f.link.decode().lower()
        found.append((f.name.decode(), link, f.operations, f.functions, f.row_operations, f.row_functions))
    return tuple(found)


ACTIVATIONS = tuple(facts[0] for facts in activation_facts())
cdef dict PHIS = {name: i for i, name in enumerate(ACTIVATIONS)}


cdef c.vg_activation activation_of(activation) except *:
    """A name, with the parameter of the catalog, or (name, alpha)."""
    name, alpha = activation if isinstance(activation, tuple) else (activation, None)
    cdef int phi = PHIS[name]
    return c.vg_activation(<c.vg_phi>phi, c.vg_activations[phi].alpha if alpha is None else alpha)


LOSSES = tuple(facts[0] for facts in loss_facts())
RULES = tuple(c.vg_rules[i].name.decode() for i in range(c.VG_N_RULES))
DECOUPLED = frozenset([c.vg_rules[i].name.decode() for i in range(c.VG_N_RULES) if c.vg_rules[i].decoupled])
# Of normalizations, the op.
cdef dict NORM_KINDS = dict(batch=c.VG_OP_BATCH_NORM, layer=c.VG_OP_LAYER_NORM, rms=c.VG_OP_RMS_NORM)
NORMALIZATIONS = tuple(NORM_KINDS)
DTYPES = in_order(dict(float32=c.VG_F32, float64=c.VG_F64))
PHASES = in_order(dict(
    forward=c.VG_FORWARD, activation=c.VG_ACTIVATION, loss=c.VG_LOSS, backward=c.VG_BACKWARD, update=c.VG_UPDATE,
    normalization=c.VG_NORMALIZATION, gather=c.VG_GATHER, barrier=c.VG_BARRIER,
))
DONE, PAUSED, NEEDS_GRADIENT = c.VG_DONE, c.VG_PAUSED, c.VG_NEEDS_GRADIENT
EXCHANGE, NON_FINITE = c.VG_EXCHANGE, c.VG_NON_FINITE
TRAIN, GRADIENT, APPLY, INSPECT, OUTPUTS = c.VG_TRAIN, c.VG_GRADIENT, c.VG_APPLY, c.VG_INSPECT, c.VG_OUTPUTS
THREADS_MOST = c.VG_THREADS_MOST
FORWARD_ROWS = c.VG_FORWARD_ROWS
HAS_THREADS = bool(c.vg_team_exists())

# vg_record, field by field.
cdef c.vg_record record
QUANTITIES = in_order(dict(
    grad_norm=&record.grad_norm - <double *>&record,
    bias_grad_norm=&record.bias_grad_norm - <double *>&record,
    weight_norm=&record.weight_norm - <double *>&record,
    delta_norm=&record.delta_norm - <double *>&record,
    speed=&record.speed - <double *>&record,
    weight_gain=&record.weight_gain - <double *>&record,
    activation_gain=&record.activation_gain - <double *>&record,
    gain=&record.gain - <double *>&record,
    mean_derivative=&record.mean_derivative - <double *>&record,
    saturated=&record.saturated - <double *>&record,
    dead=&record.dead - <double *>&record,
    update_ratio=&record.update_ratio - <double *>&record,
    frozen=&record.frozen - <double *>&record,
    stuck=&record.stuck - <double *>&record,
    zero=&record.zero - <double *>&record,
    subnormal=&record.subnormal - <double *>&record,
    max_abs=&record.max_abs - <double *>&record,
    sample_norm=&record.sample_norm - <double *>&record,
    noise_scale=&record.noise_scale - <double *>&record,
    skip_gain=&record.skip_gain - <double *>&record,
    normalization_gain=&record.normalization_gain - <double *>&record,
))
assert sizeof(c.vg_record) == 8 * len(QUANTITIES)
assert len(PHASES) == c.VG_PHASES

# vg_batch, field by field.
BATCH = np.dtype([("first", np.uint64), ("rows", np.uint64), ("offset", np.uint64), ("total", np.float64)])
assert BATCH.itemsize == sizeof(c.vg_batch)
