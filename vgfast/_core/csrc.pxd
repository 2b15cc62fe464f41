# vgfast.h (and what tests need of kernels.h), said again for Cython.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "vgfast.h" nogil:
    ctypedef enum vg_dtype: VG_F32, VG_F64
    ctypedef enum vg_phi: pass
    ctypedef enum vg_loss: VG_CROSS_ENTROPY, VG_MSE  # and others
    ctypedef enum vg_derivative: VG_ONE, VG_STEP, VG_LEAK, VG_STORED
    ctypedef enum vg_rule: pass
    int VG_N_ACTIVATIONS, VG_N_LOSSES, VG_N_RULES, VG_HYPER_MOST, VG_STATES_MOST

    ctypedef struct vg_activation_facts:
        const char *name
        double alpha, largest, joint
        vg_derivative derivative
        int operations, functions, squashing

    ctypedef struct vg_loss_facts:
        const char *name
        const char *link
        int operations, functions, row_operations, row_functions

    ctypedef struct vg_rule_facts:
        const char *name
        int states, decoupled

    const vg_activation_facts vg_activations[1]

    ctypedef struct vg_activation:
        vg_phi phi
        double alpha

    const vg_loss_facts vg_losses[1]
    const vg_rule_facts vg_rules[1]
    ctypedef enum vg_mode: VG_TRAIN, VG_GRADIENT, VG_APPLY, VG_INSPECT, VG_OUTPUTS
    ctypedef enum vg_phase:
        VG_FORWARD, VG_ACTIVATION, VG_LOSS, VG_BACKWARD, VG_UPDATE, VG_NORMALIZATION, VG_GATHER, VG_BARRIER, VG_PHASES
    ctypedef enum vg_op_kind: VG_OP_DENSE, VG_OP_LAYER_NORM, VG_OP_RMS_NORM, VG_OP_BATCH_NORM  # and others
    ctypedef enum vg_status: VG_DONE, VG_PAUSED, VG_NEEDS_GRADIENT, VG_EXCHANGE, VG_NON_FINITE

    ctypedef struct vg_tensor:
        size_t op
        size_t cols, ld, value, grad

    ctypedef struct vg_param:
        size_t op, offset

    ctypedef struct vg_op:
        vg_op_kind kind
        size_t input "in", out, layer
        bint ends_stage

    ctypedef struct vg_stage:
        pass

    ctypedef struct vg_plan:
        vg_dtype dtype
        vg_loss loss
        vg_op *ops
        vg_tensor *tensors
        vg_param *params
        vg_stage *stages
        size_t n_ops, n_tensors, n_param_arrays, n_layers, n_additions, n_params, n_running, n_columns
        bint sparse

    ctypedef struct vg_csr:
        const void *values
        const int32_t *columns
        const int64_t *starts

    ctypedef struct vg_entry:
        uint32_t column, row
        double value

    ctypedef struct vg_workspace:
        size_t batch, rows, n_chunks, n_elements, n_notes
        int n_threads
        double flops

    ctypedef struct vg_record:
        double grad_norm, bias_grad_norm, weight_norm, delta_norm, speed
        double weight_gain, activation_gain, gain
        double mean_derivative, saturated, dead
        double update_ratio, frozen, stuck, zero, subnormal, max_abs
        double sample_norm, noise_scale
        double skip_gain
        double normalization_gain

    ctypedef struct vg_optimizer:
        vg_rule rule
        double lr, weight_decay, penalty, clip_norm, clip_value
        double hyper[6]
        void *states[2]
        int64_t *n_taken
        const double *rates

    ctypedef struct vg_tuner:
        int n_threads
        double until
        double steps[9]

    ctypedef struct vg_batch:
        uint64_t first, rows, offset
        double total

    ctypedef struct vg_run:
        const vg_plan *plan
        const vg_workspace *workspace
        vg_mode mode
        int n_threads, n_columns
        vg_tuner tuner
        const void *x
        const int32_t *labels
        const void *targets
        const double *weights
        const void *dz
        uint64_t *draws
        const int64_t *order
        size_t n_rows, batch_size
        const vg_batch *batches
        bint exchanges
        int exchanged
        void *params
        void *gradient
        void *memory
        double *notes
        vg_entry *entries
        size_t n_entries
        vg_optimizer optimizer
        size_t step, n_steps
        double *losses
        double *correct
        double *totals
        size_t inspect_every, steps_before, n_records
        vg_record *records
        uint32_t *exponents
        double seconds
        double *times
        int unblocked
        bint checked
        vg_status status

    int VG_FORWARD_ROWS
    void vg_plan_input(vg_plan *plan, size_t cols)
    void vg_plan_dense(vg_plan *plan, size_t cols, bint biased)
    void vg_plan_normalize(vg_plan *plan, vg_op_kind kind, double eps, bint affine)
    void vg_plan_normalize_batch(vg_plan *plan, double eps, bint affine, double weight)
    void vg_plan_activate(vg_plan *plan, vg_activation activation)
    void vg_plan_dropout(vg_plan *plan, double keep, bint alpha)
    void vg_plan_open(vg_plan *plan)
    void vg_plan_fork(vg_plan *plan)
    void vg_plan_add(vg_plan *plan, double scale, int learned)
    void vg_plan_loss(vg_plan *plan, vg_loss loss)
    int vg_plan_lay_out(vg_plan *plan)
    size_t vg_item_size(vg_dtype dtype)
    size_t vg_exponent_bins(vg_dtype dtype)
    int vg_workspace_lay_out(const vg_plan *plan, size_t batch, size_t rows, int n_threads, vg_workspace *workspace)
    size_t vg_part_of_batch(const vg_plan *plan, size_t batch, int n_threads)
    size_t vg_chunk_rows(const vg_plan *plan, size_t batch)
    size_t vg_forward_scratch(const vg_plan *plan, int n_threads)
    int vg_threads_for(const vg_plan *plan, size_t rows, int limit)
    int vg_threads_to_try(const vg_plan *plan, size_t rows, int limit)
    size_t vg_simulate(vg_run *run, double *seconds, size_t most)
    void vg_train(vg_run *run)

    ctypedef struct vg_bit_generator:
        pass

    void vg_permute(const vg_bit_generator *bits, size_t n, int64_t *order)
    uint64_t vg_random_at_most(const vg_bit_generator *bits, uint64_t most)
    void vg_forward(const vg_plan *plan, const void *params, const void *x, size_t n_rows, void *z,
                    void *scratch, int n_threads)
    const char *vg_isa_available(int n)
    const char *vg_isa_name()
    int vg_isa_use(const char *name)

cdef extern from "limits/limits.h" nogil:
    ctypedef enum vg_access: VG_READ, VG_WRITE
    double vg_fma_peak(const char *isa, vg_dtype dtype, int n_threads)
    size_t vg_product_peak_memory(int n_threads)
    double vg_product_peak(vg_dtype dtype, void *memory, int n_threads)
    double vg_function_peak(vg_dtype dtype, vg_activation activation, int n_threads)
    double vg_bandwidth(vg_access access, void *memory, size_t bytes, int n_threads)
    double vg_exchange_bandwidth(void *memory, size_t bytes, int n_threads)
    double vg_latency(void *memory, size_t bytes, uint32_t *order)
    double vg_barrier_seconds(int n_threads)
    double vg_waking_seconds(int n_threads)

cdef extern from "pretrain/pretrain.h" nogil:
    ctypedef enum vg_pretrain_kind: VG_RBM, VG_AUTOENCODER

    ctypedef struct vg_pretrain_workspace:
        vg_dtype dtype
        size_t m, n, rows, ldn, n_elements, n_notes
        double flops

    ctypedef struct vg_pretrain_record:
        double gradient, weight, step, frozen

    ctypedef struct vg_pretrain:
        const vg_pretrain_workspace *workspace
        vg_pretrain_kind kind
        int n_threads
        uint64_t seed
        size_t k
        int gaussian, draws_visible
        void *chains
        void *penalty
        void *activity
        double target, cost, decay
        vg_loss loss
        double scale, keep
        const void *x
        const int64_t *order
        size_t n_rows, batch_size
        void *params
        void *memory
        double *notes
        vg_optimizer optimizer
        size_t step, n_steps
        uint64_t steps_before
        double *losses
        vg_pretrain_record *record
        double seconds
        vg_status status

    ctypedef struct vg_propagation:
        vg_dtype dtype
        size_t m, n, rows
        bint down
        vg_activation activation
        const void *weights
        const void *biases
        const void *x
        void *y
        void *scratch

    size_t vg_propagation_scratch(const vg_propagation *propagation, int n_threads)
    void vg_propagate(const vg_propagation *propagation, int n_threads)
    int vg_pretrain_lay_out(vg_dtype dtype, size_t m, size_t n, size_t rows, size_t k, int n_threads,
                            vg_pretrain_workspace *workspace)
    void vg_pretrain_run(vg_pretrain *run)

cdef extern from "plan/plan.h" nogil:
    int vg_choose_columns(const vg_plan *plan, size_t rows, int n_threads)

cdef extern from "clock.h" nogil:
    uint64_t vg_ticks()

cdef extern from "team/float_mode.h" nogil:
    ctypedef struct vg_float_mode:
        pass
    vg_float_mode vg_enter_float_mode()
    void vg_leave_float_mode(vg_float_mode before)

cdef extern from "team/team.h" nogil:
    int VG_THREADS_MOST
    int vg_team_exists()

cdef extern from "team/tuner.h" nogil:
    int vg_tuner_worth_trying(double flops, int limit)
    int vg_tuner_tries(double flops, int most)
    int vg_tuner_threads(vg_tuner *tuner, double flops, int most, double now)
    void vg_tuner_record(vg_tuner *tuner, int most, double seconds, size_t steps)
    void vg_tuner_force(int force)

cdef extern from "kernels.h" nogil:
    int VG_TILE_SIZE, VG_TILE_COLS, VG_PACKED_MOST

    ctypedef struct vg_norm:
        double sum, exponent

    ctypedef struct vg_summary:
        vg_norm gradient, weight, step
        double max_abs, zero, subnormal, frozen, stuck

    ctypedef struct vg_update:
        vg_rule rule
        double lr, decay, clip_value, scale
        double hyper[6]
        int plain

    ctypedef struct vg_tools:
        void *scratch
        double check
        double *ticks
        int unblocked

    ctypedef struct vg_matrix:
        void *p
        size_t rows, cols, ld

    ctypedef struct vg_targets:
        const int32_t *labels
        const void *targets
        const double *weights
        const int64_t *order
        double total

    ctypedef struct vg_parameters:
        void *weights
        void **states
        void *gradient
        const void *begun

    ctypedef struct vg_recording:
        vg_summary *summaries
        uint32_t *exponents

    ctypedef struct vg_key:
        uint64_t seed, step
        uint32_t draw
        size_t row

    ctypedef struct vg_slope:
        pass

    ctypedef struct vg_dropout:
        pass

    ctypedef struct vg_kernels:
        size_t tile_rows, tile_cols, lanes
        void (*check_finite)(size_t, const void *, double *) noexcept nogil
        void (*dense_forward)(vg_matrix, vg_matrix, const void *, vg_activation, vg_matrix, void *,
                              vg_tools *) noexcept nogil
        void (*dense_backward)(vg_matrix, vg_matrix, vg_slope, vg_matrix, vg_matrix, vg_tools *,
                               vg_norm *) noexcept nogil
        void (*sample)(vg_matrix, vg_key, vg_matrix) noexcept nogil
        void (*drop)(vg_matrix, double, vg_key, vg_matrix) noexcept nogil
        void (*dropout)(vg_activation, vg_matrix, void *, const vg_dropout *, vg_key, double *) noexcept nogil
        void (*weight_update)(vg_matrix, vg_matrix, size_t, size_t, vg_parameters, const vg_update *, vg_tools *,
                              vg_recording) noexcept nogil
        void (*column_sums)(size_t, size_t, const void *, size_t, int, void *) noexcept nogil
        void (*update)(size_t, const void *, void *, void **, const vg_update *, double *, vg_summary *) noexcept nogil
        void (*loss)(vg_loss, vg_matrix, vg_targets, double *, double *, void *, double *) noexcept nogil
        void (*exponential)(size_t, const void *, void *) noexcept nogil
        void (*activate)(vg_activation, size_t, const void *, void *, void *) noexcept nogil
        void (*softmax)(size_t, size_t, const void *, void *) noexcept nogil
        vg_norm (*square_norm)(size_t, const void *) noexcept nogil

    vg_slope vg_slope_of(vg_activation activation)
    vg_dropout vg_dropout_of(double keep, bint alpha)
    const vg_kernels *vg_kernels_of(vg_dtype dtype)
    double vg_norm_root(vg_norm a)
