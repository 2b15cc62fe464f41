/* limits.h - the limits of the machine: what it can do at best.
 *
 * Each function is one measurement, of all threads together, and takes some milliseconds. It is
 * negative if fewer than n_threads could take part (see team.h). */
#ifndef VG_LIMITS_H
#define VG_LIMITS_H

#include "vgfast.h"

/* Floating-point operations per second (an FMA is two) of a loop of FMAs on registers alone; 0 if
 * the instruction set is not available. */
double vg_fma_peak(const char *isa, vg_dtype dtype, int n_threads);

/* The same of the product of a layer, of middle size, whose operands are near: what its kernel does
 * at best. memory: as many elements as the first says, zeros. */
size_t vg_product_peak_memory(int n_threads);
double vg_product_peak(vg_dtype dtype, void *memory, int n_threads);

/* Values per second of phi with its derivative, in and out of the L1 cache. */
double vg_function_peak(vg_dtype dtype, vg_activation activation, int n_threads);

/* Bytes per second, each thread reading or writing `bytes` of its own, at least 1, again and again
 * by the widest instructions that there are; memory: n_threads times that many. What is there is
 * lost. */
typedef enum { VG_READ, VG_WRITE } vg_access;
double vg_bandwidth(vg_access access, void *memory, size_t bytes, int n_threads);

/* Bytes per second, each thread writing `bytes` of its own, a multiple of 1024, which another has
 * read, and reading what that one has written, line by line down the columns of a matrix; memory as
 * above. */
double vg_exchange_bandwidth(void *memory, size_t bytes, int n_threads);

/* Seconds of a load that waits for the one before, anywhere in memory; order: room for a number
 * for each 64 bytes, of which there are some. What is there is lost. */
double vg_latency(void *memory, size_t bytes, uint32_t *order);

/* Seconds of a barrier to which all threads come at the same time; and of a task without work for
 * threads that sleep. */
double vg_barrier_seconds(int n_threads);
double vg_waking_seconds(int n_threads);

#endif
