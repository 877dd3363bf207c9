/* Products by any library with the C interface of BLAS, loaded when the program starts.
 *
 *   cc -O2 -o cblas_worker cblas_worker.c -ldl
 *   cblas_worker LIBRARY SYMBOL gemm --m M --n N --k K --op nn|nt|tn --threads T
 *
 * Row-major, alpha 1, beta 0. The protocol is that of sampling.py. The first product is held against
 * three loops in double. */
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_MAJOR = 101, AS_STORED = 111, TRANSPOSED = 112 };
enum { SAMPLE_NS = 1000000, LINE = 64 };

typedef void gemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int,
                     float, float *, int);

static gemm_fn *gemm;
static int m, n, k, lda, ldb, transa = AS_STORED, transb = AS_STORED;
static float *a, *b, *c;

static void call(void) {
    gemm(ROW_MAJOR, transa, transb, m, n, k, 1, a, lda, b, ldb, 0, c, n);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t sample(long calls) {
    int64_t started = now();
    for (long i = 0; i < calls; i++) call();
    return now() - started;
}

static float *filled(size_t len, uint64_t state) {
    float *x = aligned_alloc(LINE, (len * sizeof(float) + LINE - 1) / LINE * LINE);
    if (!x) exit(2);
    for (size_t i = 0; i < len; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        x[i] = (float)((double)(state >> 11) / 4503599627370496.0 - 1);
    }
    return x;
}

static int fail(const char *expected, const char *got) {
    fprintf(stderr, "cblas_worker: expected %s, got %s\n", expected, got);
    return 2;
}

/* Looks at some hundred elements all over the product. */
static int check(void) {
    size_t len = (size_t)m * n, step = len / 199 + 1;
    for (size_t e = 0; e < len; e += step) {
        size_t i = e / n, j = e % n;
        double sum = 0, size = 0;
        for (int p = 0; p < k; p++) {
            double x = a[transa == TRANSPOSED ? (size_t)p * lda + i : i * lda + p];
            double y = b[transb == TRANSPOSED ? j * ldb + p : (size_t)p * ldb + j];
            sum += x * y, size += fabs(x * y);
        }
        if (!(fabs(c[e] - sum) <= 1e-6 * (k + 4) * size)) return fail("the product", "another");
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) return fail("LIBRARY SYMBOL gemm ...", "less");
    const char *op = "nn";
    for (int i = 4; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--m")) m = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--n")) n = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--k")) k = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--op")) op = argv[i + 1];
        else if (strcmp(argv[i], "--threads")) return fail("a known argument", argv[i]);
    }
    if (m < 1 || n < 1 || k < 1) return fail("sizes of at least 1", "others");
    lda = k, ldb = n;
    if (!strcmp(op, "nt")) transb = TRANSPOSED, ldb = k;
    if (!strcmp(op, "tn")) transa = TRANSPOSED, lda = m;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (!library) return fail("a library", dlerror());
    gemm = (gemm_fn *)dlsym(library, argv[2]);
    if (!gemm) return fail("a symbol of the library", argv[2]);

    a = filled((size_t)m * k, 88172645463325252u);
    b = filled((size_t)k * n, 88172645463325253u);
    c = filled((size_t)m * n, 88172645463325254u);
    call();
    if (check()) return 2;

    long calls = 1;
    for (int64_t elapsed; (elapsed = sample(calls)) < SAMPLE_NS;) {
        double factor = 1.2 * SAMPLE_NS / (double)(elapsed > 0 ? elapsed : 1);
        calls = (long)(calls * (factor < 2 ? 2 : factor > 1e3 ? 1e3 : factor));
    }
    printf("%ld\n", calls);
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        calls = atol(line);
        if (calls < 1) return fail("a number of calls", line);
        /* While the others ran, this one's memory left the caches. */
        if (calls > 1) call();
        printf("%lld\n", (long long)sample(calls));
        fflush(stdout);
    }
    return 0;
}
