"""Environment variables for every process that computes, locally and in pods."""

TUNING = {
    # Without these glibc returns each batch's buffers to the kernel; keeping them gives 35 to 65 %
    # more photos/s.
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    # OpenBLAS wakes one thread per core for a head's small matrix product, and they spin: 10 ms of
    # processor time per batch of 32 photos, against 0.2 ms with one thread.
    "OPENBLAS_NUM_THREADS": "1",
}
