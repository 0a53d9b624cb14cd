/* The hot steps of a frame as loops of n, for counting instructions and for timing. */
#ifndef FASTBRIDGE_BENCH_FRAME_STEPS_H
#define FASTBRIDGE_BENCH_FRAME_STEPS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*step_loop)(long n);

typedef struct {
    const char *name;
    step_loop loop;
} frame_step;

/* Ended by a step without a name. */
extern const frame_step frame_steps[];

/* Make the rings and texts; return 0 when memory is short. */
int frame_steps_start(void);

#ifdef __cplusplus
}
#endif

#endif
