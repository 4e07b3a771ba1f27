/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The records, their numbers and the ring.
 *
 * A record is a fixed part (one of the structs below) and, for exec, existing and privilege, the bytes of its strings
 * behind it, packed, with their lengths in the fixed part. User space knows the same layouts (src/records.rs) and a
 * test compares them with this object's BTF.
 *
 * Numbers: each record takes the next number of its CPU when it is about to enter the ring, also when the ring is
 * full. So a gap in the numbers is a loss, and `lost` says of which kind. Programs interrupt each other: a record of
 * softirq context can take a later number and still come first, but only by the few instructions between number and
 * reservation.
 *
 * fork, exit and network reserve their place in the ring first and fill it there: their size is known. exec and
 * privilege are a few hundred bytes as a rule and 28 KiB at worst, and 5.15 reserves only constant sizes (dynptrs
 * came with 5.19), so they are built in a scratch area of the CPU and copied once.
 */
#pragma once

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

char LICENSE[] SEC("license") = "GPL";

enum kt_kind {
	KT_FORK = 1,
	KT_EXEC = 2,
	KT_EXIT = 3,
	KT_EXISTING = 4,
	KT_PRIVILEGE = 5,
	KT_NETWORK = 6,
	KT_KINDS = 7,
};

/* Parts of a record that could not be read or are not whole: empty is told from unread. */
enum kt_flag {
	KT_EXE_UNREAD = 1 << 0,
	KT_EXE_CUT = 1 << 1,
	KT_EXE_OUTSIDE = 1 << 2, /* not below the process's root: the path starts at the top of its mounts */
	KT_EXE_DELETED = 1 << 3,
	KT_EXE_UNNAMED = 1 << 4, /* in no directory: memfd */
	KT_CWD_UNREAD = 1 << 5,
	KT_CWD_CUT = 1 << 6,
	KT_CWD_OUTSIDE = 1 << 7,
	KT_ARGS_UNREAD = 1 << 8,
	KT_ARGS_CUT = 1 << 9,
	KT_CGROUP_CUT = 1 << 10, /* only its last components */
	KT_BEFORE_UNREAD = 1 << 11,
	KT_SOURCE_UNREAD = 1 << 12,
	KT_TARGET_UNREAD = 1 << 13,
	KT_TYPE_UNREAD = 1 << 14,
	KT_TARGET_RESOLVED = 1 << 15, /* read from the mount or root itself, not from the caller's memory */
	KT_TARGET_CUT = 1 << 16,
	KT_OWNER_UNKNOWN = 1 << 17, /* nobody was seen to open, accept or close the connection */
	KT_KERNEL_THREAD = 1 << 18,
};

/* CPU of the records of the task iterator: none has this number. */
#define KT_EXISTING_CPU 0xffff

struct kt_header {
	enum kt_kind kind;
	u32 size; /* of the whole record, strings included */
	u64 seq;
	u64 boot_ns;
	u32 cpu;
	enum kt_flag flags;
};

struct kt_ref {
	u64 start_boottime;
	u32 tgid;
	u32 reserved;
};

struct kt_state {
	u64 cap_effective;
	u64 cgroup_id;
	u32 euid;
	u32 mnt_ns;
	u32 pid_ns;
	u32 net_ns;
	u32 user_ns;
	u32 reserved;
};

#define KT_COMM_LEN 16
#define KT_TTY_LEN 16

struct kt_task {
	struct kt_ref process;
	struct kt_ref parent;
	struct kt_ref session_leader;
	struct kt_ref group_leader;
	struct kt_state state;
	u32 uid;
	u32 gid;
	u32 login_uid;
	u32 tid;
	u32 exec_seq; /* programs run so far */
	u32 reserved;
	char comm[KT_COMM_LEN];
	char tty[KT_TTY_LEN];
};

struct kt_fork {
	struct kt_header header;
	struct kt_task task;
};

struct kt_exit {
	struct kt_header header;
	struct kt_task task;
	u32 status; /* as wait(2) gives it */
	u32 reserved;
};

enum kt_fd_kind {
	KT_FD_UNKNOWN = 0,
	KT_FD_FILE = 1,
	KT_FD_TTY = 2,
	KT_FD_PIPE = 3,
	KT_FD_SOCKET = 4,
	KT_FD_OTHER = 5,
	KT_FD_CLOSED = 6,
};

/* exec and existing. Strings: exe and cwd and cgroup as path components, args each ended by NUL. */
struct kt_program {
	struct kt_header header;
	struct kt_task task;
	u64 inode;
	u32 dev;
	u16 exe_len;
	u16 cwd_len;
	u16 cgroup_len;
	u16 reserved;
	u32 args_len;
	enum kt_fd_kind stdin_kind;
	enum kt_fd_kind stdout_kind;
};

enum kt_privilege_op {
	KT_SETNS = 1,
	KT_UNSHARE = 2,
	KT_MOUNT = 3,
	KT_MOVE_MOUNT = 4,
	KT_PIVOT_ROOT = 5,
	KT_CHROOT = 6,
};

/* Strings: source and target (text, or path components with KT_TARGET_RESOLVED), type, cwd (path components). */
struct kt_privilege {
	struct kt_header header;
	struct kt_task task; /* after the call */
	struct kt_state before;
	struct kt_ref target_process;
	s64 ret;
	u64 call_flags;
	u32 target_dev;
	enum kt_privilege_op op;
	u16 source_len;
	u16 target_len;
	u16 type_len;
	u16 cwd_len;
};

enum kt_network_op {
	KT_CONNECT = 1,
	KT_ACCEPT = 2,
	KT_LISTEN = 3,
	KT_CLOSE = 4,
};

struct kt_network {
	struct kt_header header;
	struct kt_task task;
	u64 opened_boot_ns;
	u64 bytes_sent;
	u64 bytes_received;
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u16 family;
	u8 outbound;
	u8 tcp_state;
	enum kt_network_op op;
	s32 ret;
};

/* Numbers and losses of one CPU. Mapped by user space, so that reading them disturbs no program. */
struct kt_cpu {
	u64 next_seq;
	u64 lost[KT_KINDS];
	u64 reserved[8]; /* a pair of cache lines for each CPU */
};

/* Never stored: makes the compiler describe each record in BTF. */
union kt_records {
	struct kt_fork fork;
	struct kt_exit exit;
	struct kt_program program;
	struct kt_privilege privilege;
	struct kt_network network;
};

#define KT_PATH_MAX 4096 /* bytes of one path: its last components when it is longer */
#define KT_DATA_LEN 16384 /* paths and names of one record */
#define KT_DATA_MASK (KT_DATA_LEN - 1)
#define KT_ARGS_MAX 8192

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set at load */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at load: number of possible CPUs */
	__type(key, u32);
	__type(value, struct kt_cpu);
} cpus SEC(".maps");

/* Unread bytes in the ring from which the reader is woken at once; below, it looks by itself. Set at load. */
const volatile u64 wake_bytes = 1 << 17;

static __always_inline struct kt_cpu *this_cpu(u32 cpu)
{
	return bpf_map_lookup_elem(&cpus, &cpu);
}

static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Fills all of the header but its flags, and takes the number. False on a CPU that has no counters: none exists. */
static __always_inline bool number_record(struct kt_header *header, enum kt_kind kind, u32 size)
{
	u32 id = bpf_get_smp_processor_id();
	struct kt_cpu *cpu = this_cpu(id);

	if (!cpu)
		return false;
	header->kind = kind;
	header->size = size;
	header->cpu = id;
	header->boot_ns = bpf_ktime_get_boot_ns();
	header->seq = __sync_fetch_and_add(&cpu->next_seq, 1);
	return true;
}

static __always_inline void count_lost(enum kt_kind kind)
{
	struct kt_cpu *cpu = this_cpu(bpf_get_smp_processor_id());

	if (cpu && kind < KT_KINDS)
		__sync_fetch_and_add(&cpu->lost[kind], 1);
}

/* A record that gets no place still takes its number. */
static __always_inline void lose_record(enum kt_kind kind)
{
	struct kt_cpu *cpu = this_cpu(bpf_get_smp_processor_id());

	if (!cpu || kind >= KT_KINDS)
		return;
	__sync_fetch_and_add(&cpu->next_seq, 1);
	__sync_fetch_and_add(&cpu->lost[kind], 1);
}

/*
 * Place in the ring for a record of constant size: number taken, zeroed, header filled; NULL and counted when full.
 * End with `submit_record`.
 */
static __always_inline void *reserve_record(enum kt_kind kind, u32 size)
{
	struct kt_header header = {};
	void *record;

	if (!number_record(&header, kind, size))
		return NULL;
	record = bpf_ringbuf_reserve(&events, size, 0);
	if (!record) {
		count_lost(kind);
		return NULL;
	}
	__builtin_memset(record, 0, size);
	*(struct kt_header *)record = header;
	return record;
}

static __always_inline void submit_record(void *record)
{
	bpf_ringbuf_submit(record, wake_flags());
}

/* Sends a record built in a scratch area: `size` bytes with the strings; its flags are set. */
static __always_inline void output_record(struct kt_header *record, enum kt_kind kind, u32 size)
{
	if (!number_record(record, kind, size))
		return;
	if (bpf_ringbuf_output(&events, record, size, wake_flags()))
		count_lost(kind);
}
