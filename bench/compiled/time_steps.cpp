// The ring beside Boost's single-producer queue and beside the copying alone, one frame in and out.
// Prints a line a step: nanoseconds of the quickest of many short repetitions, then of the first
// quartile, then the name. All steps take turns, so that a slow moment of the machine meets all.
#include <algorithm>
#include <boost/lockfree/spsc_queue.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "frame_steps.h"

namespace {

constexpr int kRounds = 600;
constexpr long kTimes = 2000;

struct Frame {
    unsigned char bytes[160];
};

Frame in, out, middle;
boost::lockfree::spsc_queue<Frame, boost::lockfree::capacity<150>> frames;
boost::lockfree::spsc_queue<unsigned char, boost::lockfree::capacity<24000>> bytes;

void keep() {
    __asm__ volatile("" : : : "memory");
}

void boost_frames(long n) {
    while (n-- > 0) {
        frames.push(in);
        keep();
        frames.pop(out);
        keep();
    }
}

void boost_bytes(long n) {
    while (n-- > 0) {
        bytes.push(in.bytes, sizeof in.bytes);
        keep();
        bytes.pop(out.bytes, sizeof out.bytes);
        keep();
    }
}

void copies(long n) {
    while (n-- > 0) {
        std::memcpy(&middle, &in, sizeof in);
        keep();
        std::memcpy(&out, &middle, sizeof in);
        keep();
    }
}

struct Timed {
    std::string name;
    step_loop loop;
    std::vector<double> ns;
};

}  // namespace

int main() {
    std::vector<Timed> all = {
        {"memcpy alone, in and out", copies, {}},
        {"boost spsc_queue of frames: push + pop", boost_frames, {}},
        {"boost spsc_queue of bytes: push + pop", boost_bytes, {}},
    };
    if (!frame_steps_start()) {
        std::fputs("the steps could not be set up\n", stderr);
        return 1;
    }
    for (const frame_step *step = frame_steps; step->name != nullptr; step++) {
        all.push_back({step->name, step->loop, {}});
    }
    for (int round = 0; round < kRounds; round++) {
        for (Timed &one : all) {
            auto begin = std::chrono::steady_clock::now();
            one.loop(kTimes);
            std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
            one.ns.push_back(took.count() / kTimes);
        }
    }
    for (Timed &one : all) {
        std::sort(one.ns.begin(), one.ns.end());
        std::printf("%.2f %.2f %s\n", one.ns.front(), one.ns[kRounds / 4], one.name.c_str());
    }
    return 0;
}
