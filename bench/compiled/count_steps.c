/* Run every step 1,000 and 11,000 times under callgrind and dump the instructions of each loop. */
#include <stdio.h>

#include <valgrind/callgrind.h>

#include "frame_steps.h"

int main(void) {
    static const long times[] = {1000, 11000};
    char name[256];
    if (!frame_steps_start()) {
        fputs("the steps could not be set up\n", stderr);
        return 1;
    }
    for (const frame_step *step = frame_steps; step->name != NULL; step++) {
        step->loop(2000); /* what happens once (pages, lazy binding) has happened */
        for (int which = 0; which < 2; which++) {
            snprintf(name, sizeof name, "%ld %s", times[which], step->name);
            CALLGRIND_ZERO_STATS;
            step->loop(times[which]);
            CALLGRIND_DUMP_STATS_AT(name);
        }
    }
    return 0;
}
