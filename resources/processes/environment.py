"""What every process that computes is to be started with, on a laptop and in a pod alike."""

TUNING = {
    # glibc would give each batch's buffers back to the kernel: +35 to +65 % photos/s without.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    # OpenBLAS wakes a thread a core for a head's small product, and they spin: 10 ms of processor
    # time a batch of 32 photos, with one thread 0.2.
    "OPENBLAS_NUM_THREADS": "1",
}
