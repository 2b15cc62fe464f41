/* catalog.c - catalog.def as tables, for whoever chooses at run time. */
#include "vgfast.h"

#define ACTIVATION(w, symbol, name, alpha, derivative, ...)                                        \
    {#name, alpha, VG_##derivative, __VA_ARGS__},
const vg_activation_facts vg_activations[VG_N_ACTIVATIONS] = {VG_ACTIVATIONS(ACTIVATION, )};

#define LOSS(w, symbol, name, link, ...) {#name, #link, __VA_ARGS__},
const vg_loss_facts vg_losses[VG_N_LOSSES] = {VG_LOSSES(LOSS, )};

#define RULE(w, symbol, name, states, decoupled) {#name, states, decoupled},
#define FEW_STATES(w, symbol, name, states, decoupled)                                             \
    _Static_assert(states <= VG_STATES_MOST, #name ": vg_optimizer has no room for its states");
VG_RULES(FEW_STATES, )
const vg_rule_facts vg_rules[VG_N_RULES] = {VG_RULES(RULE, )};
