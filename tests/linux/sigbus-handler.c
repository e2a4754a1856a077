// Runs the machine code of the SIGBUS handler as the product installs it (MemoryFaultGuard.Install), on a machine or an emulator of its architecture.
//   sigbus-handler CODE DEFAULT_ACTION_OFFSET     CODE: a file with the bytes, without the table's address that follows them
// Ends with 0 and a line of what was seen, or with 1 and what is wrong.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRIES 64
#define PAGES 64
#define REQUIRE(what) do { if (!(what)) { printf("line %d: not so: %s\n", __LINE__, #what); exit(1); } } while (0)

struct entry { volatile uint64_t start, length, page, faults; volatile int32_t event, taken; uint64_t rest[3]; };
struct table { volatile uint64_t used, faults; void *former; uint64_t one, zeroes[4]; struct entry entries[ENTRIES]; };

static struct table *table;
static char *code;
static size_t page;
static sigjmp_buf back;
static volatile int chained, chained_signal, chained_code;
static void *volatile chained_address;

static void former(int signal, siginfo_t *info, void *context) {
  chained++;
  chained_signal = signal;
  chained_code = info->si_code;
  chained_address = info->si_addr;
  if (context == NULL) _exit(3);
  if (info->si_code > 0) siglongjmp(back, 1);
}

static void install(const char *path, size_t default_offset) {
  int file = open(path, O_RDONLY);
  REQUIRE(file >= 0);
  code = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(code != MAP_FAILED);
  ssize_t length = read(file, code, page - sizeof(void *));
  REQUIRE(length > 0 && length % 8 == 0 && default_offset < (size_t)length);
  close(file);
  memcpy(code + length, &table, sizeof table);
  REQUIRE(mprotect(code, page, PROT_READ | PROT_EXEC) == 0);
  __builtin___clear_cache(code, code + length + sizeof table);
  struct sigaction old, own;
  REQUIRE(sigaction(SIGBUS, NULL, &old) == 0);
  table->former = old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN ? code + default_offset : (void *)old.sa_sigaction;
  own = old;
  own.sa_sigaction = (void (*)(int, siginfo_t *, void *))code;
  own.sa_flags |= SA_SIGINFO;
  REQUIRE(sigaction(SIGBUS, &own, NULL) == 0);
}

static char *map(int *file) {
  *file = memfd_create("shrinks", 0);
  REQUIRE(*file >= 0 && ftruncate(*file, PAGES * page) == 0);
  char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
  REQUIRE(memory != MAP_FAILED);
  memset(memory, 0xaa, PAGES * page);
  return memory;
}

static void enter(int place, char *memory, int event) {
  struct entry *e = &table->entries[place];
  e->length = PAGES * page; e->page = page; e->faults = 0; e->event = event; e->taken = 1;
  if (table->used <= (uint64_t)place) table->used = place + 1;
  __atomic_store_n(&e->start, (uint64_t)memory, __ATOMIC_RELEASE);
}

// The default action where there was no former handler: the process dies of the signal, as it would have without.
static void default_action(const char *path, size_t default_offset) {
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int file;
    install(path, default_offset);
    char *memory = map(&file);
    if (ftruncate(file, 0) != 0) _exit(4);
    _exit(*(volatile char *)memory == 0 ? 5 : 6);
  }

  int status;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(int argc, char **argv) {
  REQUIRE(argc == 3);
  page = (size_t)sysconf(_SC_PAGESIZE);
  size_t default_offset = strtoul(argv[2], NULL, 0);
  table = aligned_alloc(64, sizeof *table);
  memset(table, 0, sizeof *table);
  table->one = 1;
  REQUIRE(sizeof(struct entry) == 64 && offsetof(struct table, entries) == 64);
  default_action(argv[1], default_offset);

  // As .NET does it: with siginfo, on an alternate stack, restarting system calls.
  stack_t stack = { .ss_sp = malloc(64 * 1024), .ss_size = 64 * 1024 };
  REQUIRE(sigaltstack(&stack, NULL) == 0);
  struct sigaction action = { .sa_sigaction = former, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
  REQUIRE(sigaction(SIGBUS, &action, NULL) == 0);
  install(argv[1], default_offset);

  // Two ranges with gaps before and between them, so that the loop passes unused entries.
  int first_file, second_file, other_file;
  char *first = map(&first_file), *second = map(&second_file), *other = map(&other_file);
  int event = eventfd(0, EFD_NONBLOCK);
  enter(3, first, -1);
  enter(7, second, event);
  REQUIRE(ftruncate(first_file, 2 * page) == 0 && ftruncate(second_file, 0) == 0 && ftruncate(other_file, 0) == 0);

  // A load beyond the end of a registered range: zeroes, counted, and the instruction goes on.
  REQUIRE(first[0] == (char)0xaa && first[2 * page - 1] == (char)0xaa && table->faults == 0);
  REQUIRE(*(volatile char *)(first + 5 * page + 123) == 0);
  REQUIRE(table->faults == 1 && table->entries[3].faults == 1 && table->entries[7].faults == 0 && chained == 0);
  uint64_t told = 0;
  REQUIRE(read(event, &told, sizeof told) < 0 && errno == EAGAIN);

  // The same page again is no fault; a store to another one lands.
  REQUIRE(*(volatile char *)(first + 5 * page) == 0 && table->faults == 1);
  *(volatile char *)(first + PAGES * page - 1) = 7;
  REQUIRE(first[PAGES * page - 1] == 7 && table->faults == 2);
  REQUIRE(first[0] == (char)0xaa && first[2 * page - 1] == (char)0xaa);

  // The event of the other range is told, once for each fault.
  *(volatile char *)second = 9;
  REQUIRE(second[0] == 9 && second[1] == 0 && read(event, &told, sizeof told) == sizeof told && told == 1);
  REQUIRE(table->entries[7].faults == 1 && table->faults == 3);

  // Through the C library's copy, whose registers are the machine's widest.
  char *copy = malloc(4 * page);
  memset(copy, 0x55, 4 * page);
  memcpy(copy, second + 10 * page, 4 * page);
  for (size_t i = 0; i < 4 * page; i++) REQUIRE(copy[i] == 0);
  REQUIRE(table->entries[7].faults == 5 && read(event, &told, sizeof told) == sizeof told && told == 4);

  // Beyond sixteen faults all of the range is replaced.
  for (int i = 0; i < PAGES; i++) REQUIRE(*(volatile char *)(second + i * page + 1) == 0);
  REQUIRE(table->entries[7].faults == 17);

  // An address outside goes to the former handler with all that it is to get, and so does a signal that somebody sent.
  uint64_t before = table->faults;
  if (sigsetjmp(back, 1) == 0) {
    REQUIRE(*(volatile char *)(other + 3 * page) == 0);
    REQUIRE(!"the load came back");
  }

  REQUIRE(chained == 1 && chained_signal == SIGBUS && chained_address == other + 3 * page && chained_code == BUS_ADRERR);
  siginfo_t sent = { .si_signo = SIGBUS, .si_code = SI_QUEUE };
  sent.si_addr = first + 20 * page;
  REQUIRE(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &sent) == 0);
  REQUIRE(chained == 2 && chained_code == SI_QUEUE && chained_address == first + 20 * page && table->faults == before);

  // A range that is registered no more is outside.
  __atomic_store_n(&table->entries[3].start, 0, __ATOMIC_RELEASE);
  if (sigsetjmp(back, 1) == 0) {
    REQUIRE(*(volatile char *)(first + 8 * page) == 0);
    REQUIRE(!"the load came back");
  }

  REQUIRE(chained == 3 && table->faults == before);
  printf("%llu faults on zeroes, %d chained, the default action kept\n", (unsigned long long)table->faults, chained);
  return 0;
}
