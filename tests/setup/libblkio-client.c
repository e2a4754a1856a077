/*
 * A vhost-user-blk client on libblkio (driver virtio-blk-vhost-user): writes a pattern through every queue, flushes, reads it
 * back through another queue in another order and compares each byte; then zeroes a part, discards another, and checks again.
 *
 *   libblkio-client SOCKET [queues [depth [block-bytes [total-bytes [poll]]]]]
 *   libblkio-client SOCKET check-only queues depth block-bytes total-bytes
 *
 * "check-only" compares what an earlier run left (all but the zeroed and discarded parts). Prints one line a phase; exit
 * code 0 when every byte was right, 1 otherwise.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Needs the types of signal.h and time.h before it. */
#include <blkio.h>

enum operation { OP_WRITE, OP_READ, OP_READ_ZEROED };

static struct blkio *device;
static struct blkio_mem_region memory;
static unsigned queues = 1, depth = 16;
static uint64_t block_bytes = 4096, total_bytes = 16u << 20;
static bool poll_queues;

static void fail(const char *what, int code)
{
    fprintf(stderr, "FAILED %s: %s (%s)\n", what, strerror(code < 0 ? -code : code), blkio_get_error_msg());
    exit(1);
}

static void check(const char *what, int code)
{
    if (code != 0) {
        fail(what, code);
    }
}

/* Word `index` of the block at `offset`: differs for every word of the device. */
static uint64_t pattern(uint64_t offset, uint64_t index)
{
    uint64_t x = offset + index * 8 + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Blocks in front of this are zeroed, those from here to twice this are discarded, the rest keeps the pattern. */
static uint64_t zeroed_blocks(void)
{
    return total_bytes / block_bytes / 8;
}

static struct blkioq *queue(unsigned index)
{
    return poll_queues ? blkio_get_poll_queue(device, (int)index) : blkio_get_queue(device, (int)index);
}

static void check_block(const uint64_t *data, uint64_t offset, bool zero)
{
    for (uint64_t i = 0; i < block_bytes / 8; i++) {
        uint64_t expected = zero ? 0 : pattern(offset, i);
        if (data[i] != expected) {
            fprintf(stderr, "FAILED byte %llu: read %016llx, expected %016llx\n", (unsigned long long)(offset + i * 8),
                    (unsigned long long)data[i], (unsigned long long)expected);
            exit(1);
        }
    }
}

/* Bounded wait: a server that forgets a request fails the run instead of hanging it. */
static int complete(struct blkioq *q, struct blkio_completion *completions, int max)
{
    struct timespec timeout = { .tv_sec = 20 };
    int n = blkioq_do_io(q, completions, 1, max, &timeout);
    if (n < 0) {
        fail("waiting for completions", n);
    }
    for (int i = 0; i < n; i++) {
        if (completions[i].ret != 0) {
            fprintf(stderr, "FAILED request: %s (%s)\n", strerror(-completions[i].ret),
                    completions[i].error_msg ? completions[i].error_msg : "no message");
            exit(1);
        }
    }
    return n;
}

struct work {
    enum operation operation;
    unsigned queue;
    uint64_t first, blocks;
};

/* Every `queues`-th block, `depth` at a time; reads take the blocks that another queue wrote, from the end to the start. */
static void *run_queue(void *argument)
{
    struct work *work = argument;
    struct blkioq *q = queue(work->queue);
    struct blkio_completion completions[256];
    char *buffers = (char *)memory.addr + (uint64_t)work->queue * depth * block_bytes;
    uint64_t slot_offset[256];
    unsigned free_slots[256], free_count = depth, in_flight = 0;
    uint64_t start = work->operation == OP_WRITE ? work->queue : (work->queue + 1) % queues;
    uint64_t count = start < work->blocks ? (work->blocks - start + queues - 1) / queues : 0, next = 0;

    for (unsigned i = 0; i < depth; i++) {
        free_slots[i] = i;
    }
    while (next < count || in_flight > 0) {
        while (next < count && free_count > 0) {
            unsigned slot = free_slots[--free_count];
            uint64_t step = work->operation == OP_WRITE ? next : count - 1 - next;
            uint64_t offset = (work->first + start + step * queues) * block_bytes;
            uint64_t *buffer = (uint64_t *)(buffers + slot * block_bytes);
            slot_offset[slot] = offset;
            if (work->operation == OP_WRITE) {
                for (uint64_t i = 0; i < block_bytes / 8; i++) {
                    buffer[i] = pattern(offset, i);
                }
                blkioq_write(q, offset, buffer, block_bytes, (void *)(uintptr_t)slot, 0);
            } else {
                memset(buffer, 0xa5, block_bytes);
                blkioq_read(q, offset, buffer, block_bytes, (void *)(uintptr_t)slot, 0);
            }
            next++;
            in_flight++;
        }
        int n = complete(q, completions, (int)depth);
        for (int i = 0; i < n; i++) {
            unsigned slot = (unsigned)(uintptr_t)completions[i].user_data;
            if (work->operation != OP_WRITE) {
                check_block((uint64_t *)(buffers + slot * block_bytes), slot_offset[slot], work->operation == OP_READ_ZEROED);
            }
            free_slots[free_count++] = slot;
            in_flight--;
        }
    }
    return NULL;
}

static void run_phase(const char *name, enum operation operation, uint64_t first, uint64_t blocks)
{
    pthread_t threads[64];
    struct work work[64];

    for (unsigned i = 0; i < queues; i++) {
        work[i] = (struct work){ .operation = operation, .queue = i, .first = first, .blocks = blocks };
        check("pthread_create", pthread_create(&threads[i], NULL, run_queue, &work[i]));
    }
    for (unsigned i = 0; i < queues; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%s %llu bytes, %u queue(s), depth %u, block %llu\n", name, (unsigned long long)(blocks * block_bytes), queues, depth,
           (unsigned long long)block_bytes);
}

static void connect_device(const char *path)
{
    check("blkio_create", blkio_create("virtio-blk-vhost-user", &device));
    check("set path", blkio_set_str(device, "path", path));
    check("connect", blkio_connect(device));
    check("set num-queues", blkio_set_int(device, "num-queues", poll_queues ? 0 : (int)queues));
    check("set num-poll-queues", blkio_set_int(device, "num-poll-queues", poll_queues ? (int)queues : 0));
    check("start", blkio_start(device));
    check("alloc memory", blkio_alloc_mem_region(device, &memory, (queues * depth * block_bytes + 0x1fffff) & ~(size_t)0x1fffff));
    check("map memory", blkio_map_mem_region(device, &memory));
}

int main(int argc, char **argv)
{
    bool check_only = argc > 2 && strcmp(argv[2], "check-only") == 0;
    char **numbers = argv + (check_only ? 3 : 2);
    int count = argc - (check_only ? 3 : 2);
    uint64_t capacity, blocks;
    struct blkio_completion completion;

    if (argc < 2) {
        fprintf(stderr, "usage: libblkio-client SOCKET [check-only] [queues [depth [block-bytes [total-bytes [poll]]]]]\n");
        return 2;
    }
    queues = count > 0 ? (unsigned)strtoul(numbers[0], NULL, 0) : queues;
    depth = count > 1 ? (unsigned)strtoul(numbers[1], NULL, 0) : depth;
    block_bytes = count > 2 ? strtoull(numbers[2], NULL, 0) : block_bytes;
    total_bytes = count > 3 ? strtoull(numbers[3], NULL, 0) : total_bytes;
    poll_queues = count > 4 && strcmp(numbers[4], "poll") == 0;
    if (queues < 1 || queues > 64 || depth < 1 || depth > 256 || block_bytes < 512 || block_bytes % 512 != 0) {
        fprintf(stderr, "queues 1..64, depth 1..256, block-bytes a multiple of 512\n");
        return 2;
    }

    connect_device(argv[1]);
    check("get capacity", blkio_get_uint64(device, "capacity", &capacity));
    printf("capacity %llu bytes\n", (unsigned long long)capacity);
    if (total_bytes > capacity) {
        fprintf(stderr, "FAILED the device has %llu bytes, %llu are asked for\n", (unsigned long long)capacity, (unsigned long long)total_bytes);
        return 1;
    }
    blocks = total_bytes / block_bytes;
    uint64_t zeroed = zeroed_blocks();

    if (!check_only) {
        run_phase("wrote", OP_WRITE, 0, blocks);
        blkioq_flush(queue(0), NULL, 0);
        complete(queue(0), &completion, 1);
        printf("flushed\n");
        run_phase("verified", OP_READ, 0, blocks);

        blkioq_write_zeroes(queue(0), 0, zeroed * block_bytes, NULL, 0);
        complete(queue(0), &completion, 1);
        run_phase("verified zeroed", OP_READ_ZEROED, 0, zeroed);
        blkioq_discard(queue(0), zeroed * block_bytes, zeroed * block_bytes, NULL, 0);
        complete(queue(0), &completion, 1);
        printf("discarded %llu bytes\n", (unsigned long long)(zeroed * block_bytes));
        blkioq_flush(queue(0), NULL, 0);
        complete(queue(0), &completion, 1);
    }
    run_phase("verified kept", OP_READ, 2 * zeroed, blocks - 2 * zeroed);
    blkio_destroy(&device);
    printf("OK\n");
    return 0;
}
