/* plan.c - a plan is built op by op; what can be done in the epilogue of an op is fused into it;
 * and stages are cut where an op crosses rows. */
#include "vgfast.h"

static size_t add_tensor(vg_plan *plan, size_t cols) {
    plan->tensors[plan->n_tensors] = (vg_tensor){.op = plan->n_ops, .cols = cols};
    return plan->n_tensors++;
}

static size_t add_param(vg_plan *plan, vg_role role, size_t rows, size_t cols) {
    plan->params[plan->n_param_arrays] = (vg_param){
        .role = role, .rows = rows, .cols = cols, .op = plan->n_ops, .decays = role == VG_WEIGHTS};
    return plan->n_param_arrays++;
}

void vg_plan_input(vg_plan *plan, size_t cols) {
    const vg_op op = {.kind = VG_OP_INPUT, .out = add_tensor(plan, cols), .keep = 1};
    plan->ops[plan->n_ops++] = op;
}

void vg_plan_dense(vg_plan *plan, size_t cols, int biased) {
    const size_t in = plan->n_tensors - 1, n_in = plan->tensors[in].cols;
    const vg_op op = {
        .kind = VG_OP_DENSE,
        .in = in,
        .out = add_tensor(plan, cols),
        .weights = add_param(plan, VG_WEIGHTS, n_in, cols),
        .biases = biased ? add_param(plan, VG_BIASES, 1, cols) : VG_NONE,
        .gains = VG_NONE,
        .shifts = VG_NONE,
        .activation = {.phi = VG_IDENTITY},
        .keep = 1,
        .layer = ++plan->n_layers,
    };
    plan->ops[plan->n_ops++] = op;
}

/* An op that normalizes, of any kind, with its parameters. */
static void add_norm(vg_plan *plan, vg_op_kind kind, double eps, int affine) {
    const size_t in = plan->n_tensors - 1, cols = plan->tensors[in].cols;
    const int shifted = affine && kind != VG_OP_RMS_NORM;
    const vg_op op = {
        .kind = kind,
        .in = in,
        .out = add_tensor(plan, cols),
        .weights = VG_NONE,
        .biases = VG_NONE,
        .gains = affine ? add_param(plan, VG_GAINS, 1, cols) : VG_NONE,
        .shifts = shifted ? add_param(plan, VG_SHIFTS, 1, cols) : VG_NONE,
        .eps = eps,
        .keep = 1,
        .moments = plan->n_norms++,
        .activation = {.phi = VG_IDENTITY},
        .layer = plan->n_layers,
    };
    plan->ops[plan->n_ops++] = op;
}

void vg_plan_normalize(vg_plan *plan, vg_op_kind kind, double eps, int affine) {
    add_norm(plan, kind, eps, affine);
}

void vg_plan_normalize_batch(vg_plan *plan, double eps, int affine, double weight) {
    const size_t in = plan->n_tensors - 1;
    plan->ops[plan->n_ops++] = (vg_op){
        .kind = VG_OP_MOMENTS,
        .keep = 1,
        .in = in,
        .out = in,
        .weights = VG_NONE,
        .biases = VG_NONE,
        .gains = VG_NONE,
        .shifts = VG_NONE,
        .activation = {.phi = VG_IDENTITY},
        .layer = plan->n_layers,
        .ends_stage = 1, /* they are those of all rows */
    };
    add_norm(plan, VG_OP_BATCH_NORM, eps, affine);
    plan->ops[plan->n_ops - 1].weight = weight;
}

/* Never an op of its own: it is fused into the op before it. */
void vg_plan_activate(vg_plan *plan, vg_activation activation) {
    vg_op *const op = &plan->ops[plan->n_ops - 1];
    op->activation = activation;
    op->activated = 1;
    op->stores = vg_activations[activation.phi].derivative == VG_STORED;
}

/* In place. An output that has been dropped does not tell phi' any more: that is stored, times the
 * mask, and the way back needs no other. */
void vg_plan_dropout(vg_plan *plan, double keep, int alpha) {
    vg_op *const before = &plan->ops[plan->n_ops - 1];
    const vg_op op = {
        .kind = VG_OP_DROPOUT,
        .in = before->out,
        .out = before->out,
        .activation = before->activation,
        .keep = keep,
        .alpha_dropout = alpha,
        .layer = before->layer,
    };
    before->stores = 1;
    before->keep = keep;
    before->alpha_dropout = alpha;
    plan->ops[plan->n_ops++] = op;
}

static void add_up(vg_plan *plan, size_t skip, double scale, int learned) {
    const size_t in = plan->n_tensors - 1;
    const vg_op op = {
        .kind = VG_OP_ADD,
        .in = in,
        .out = add_tensor(plan, plan->tensors[in].cols),
        .activation = {.phi = VG_IDENTITY},
        .keep = 1,
        .skip = skip,
        .scale = scale,
        .scales = learned ? add_param(plan, VG_SCALES, 1, 1) : VG_NONE,
        .layer = plan->n_layers,
    };
    plan->ops[plan->n_ops++] = op;
    plan->n_additions++;
}

/* The sum has a tensor of its own, whose gradient is that of what goes around: of what phi makes,
 * only that times phi' is kept. So what is to go around first is copied into one, too. */
void vg_plan_open(vg_plan *plan) { add_up(plan, VG_NONE, 1, 0); }

void vg_plan_fork(vg_plan *plan) {
    const size_t in = plan->n_tensors - 1;
    const vg_op op = {.kind = VG_OP_FORK, .in = in, .out = in, .keep = 1, .layer = plan->n_layers};
    plan->ops[plan->n_ops++] = op;
}

void vg_plan_add(vg_plan *plan, double scale, int learned) {
    size_t fork = plan->n_ops - 1;
    while (plan->ops[fork].kind != VG_OP_FORK) fork--;
    plan->ops[fork].adds = plan->n_ops;
    add_up(plan, plan->ops[fork].in, scale, learned);
}

void vg_plan_loss(vg_plan *plan, vg_loss loss) {
    const vg_op op = {
        .kind = VG_OP_LOSS,
        .in = plan->n_tensors - 1,
        .out = plan->n_tensors - 1,
        .keep = 1,
        .layer = plan->n_layers,
        .ends_stage = 1, /* its mean is one over all rows */
    };
    plan->loss = loss;
    plan->ops[plan->n_ops++] = op;
}

void vg_plan_cut_stages(vg_plan *plan) {
    plan->n_stages = 0;
    for (size_t first = 0, i = 0; i < plan->n_ops; i++) {
        if (!plan->ops[i].ends_stage && i + 1 < plan->n_ops) continue;
        plan->stages[plan->n_stages++] = (vg_stage){first, i + 1};
        first = i + 1;
    }
}
