/* Six atomic operations on 64-bit words, because C11's <stdatomic.h> is not usable everywhere.
 *
 * GCC and Clang (Linux, macOS) use the __atomic_* builtins. The MSVC branch is written but
 * UNTESTED: no Windows compiler has seen it. Every caller states OWNER and ORDER at the access.
 */
#ifndef FASTBRIDGE_ATOMICS_H
#define FASTBRIDGE_ATOMICS_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)

#define FB_INLINE static inline __attribute__((unused))

FB_INLINE uint64_t fb_load_relaxed(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

FB_INLINE uint64_t fb_load_acquire(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

FB_INLINE void fb_store_relaxed(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

FB_INLINE void fb_store_release(uint64_t *word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Swap when *word == *seen (1); else load *word into *seen (0). Success acq_rel, failure acquire. */
FB_INLINE int fb_swap(uint64_t *word, uint64_t *seen, uint64_t next) {
    return __atomic_compare_exchange_n(word, seen, next, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Loads before the fence happen before loads after it (a compiler barrier on x86). */
FB_INLINE void fb_fence_acquire(void) {
#if defined(__SANITIZE_THREAD__)
    /* ThreadSanitizer cannot model fences; the acquire loads around it are enough for it. */
#else
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

#elif defined(_MSC_VER) /* UNTESTED from here to the end of the branch. */

#include <intrin.h>

#define FB_INLINE static __forceinline

#if !defined(_M_X64) && !defined(_M_ARM64)
#error "the ring needs 64-bit atomics: x64 or ARM64"
#endif

FB_INLINE uint64_t fb_load_relaxed(const uint64_t *word) {
    return *(const volatile uint64_t *)word;
}

FB_INLINE uint64_t fb_load_acquire(const uint64_t *word) {
#if defined(_M_ARM64)
    return __ldar64((unsigned __int64 volatile *)word);
#else
    uint64_t value = *(const volatile uint64_t *)word;
    _ReadWriteBarrier(); /* x64 is TSO: only the compiler could reorder */
    return value;
#endif
}

FB_INLINE void fb_store_relaxed(uint64_t *word, uint64_t value) {
    *(volatile uint64_t *)word = value;
}

FB_INLINE void fb_store_release(uint64_t *word, uint64_t value) {
#if defined(_M_ARM64)
    __stlr64((unsigned __int64 volatile *)word, value);
#else
    _ReadWriteBarrier();
    *(volatile uint64_t *)word = value;
#endif
}

FB_INLINE int fb_swap(uint64_t *word, uint64_t *seen, uint64_t next) {
    uint64_t found = (uint64_t)_InterlockedCompareExchange64(
        (__int64 volatile *)word, (__int64)next, (__int64)*seen);
    int swapped = found == *seen;
    *seen = found;
    return swapped;
}

FB_INLINE void fb_fence_acquire(void) {
#if defined(_M_ARM64)
    __dmb(_ARM64_BARRIER_ISHLD);
#else
    _ReadWriteBarrier();
#endif
}

#else
#error "no atomics for this compiler: GCC, Clang or MSVC is needed"
#endif

/* Add to a counter that one side owns: others only read it, so no locked instruction is needed. */
FB_INLINE void fb_count(uint64_t *counter, uint64_t amount) {
    fb_store_relaxed(counter, fb_load_relaxed(counter) + amount);
}

#endif
