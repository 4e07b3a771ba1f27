/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ring, the numbers of the records in it, and what was lost.
 *
 * Each record takes the next number of its CPU when it is about to enter the ring, also when the ring is full. So a
 * gap in the numbers is a loss, and `lost` has its kind. Programs interrupt each other: a record of softirq context
 * can take a later number and still come first, but only by the few instructions between number and reservation.
 * A record with KT_FILTERED takes no number: it becomes no row, so a missing one is not a loss.
 *
 * Records of constant size are reserved first and filled in place. exec and privilege are a few hundred bytes as a
 * rule and 28 KiB at worst, and 5.15 reserves only constant sizes (dynptrs came with 5.19), so they are built in a
 * scratch area of the CPU and copied once.
 */
#pragma once

#include "event.h"

/* Counters of one CPU. Mapped by user space, so that reading them disturbs no program. */
struct kt_cpu {
	u64 next_seq;
	u64 lost[KT_KINDS];
	u64 filtered[KT_KINDS]; /* events that the filter dropped, those sent with KT_FILTERED too */
	u64 context_lost; /* records with KT_FILTERED for which the ring had no room */
	u64 reserved[14]; /* pairs of cache lines for each CPU */
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

/* Unread bytes in the ring from which the reader is woken at once; below, it polls. Set at load. */
const volatile u64 wake_bytes = 1 << 17;

static __always_inline struct kt_cpu *cpu_of(u32 id)
{
	return bpf_map_lookup_elem(&cpus, &id);
}

static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Fills the header and takes the number. False on a CPU that has no counters: there is none. */
static __always_inline bool number_record(struct kt_header *header, u32 kind, u32 size)
{
	u32 id = bpf_get_smp_processor_id();
	struct kt_cpu *cpu = cpu_of(id);

	if (!cpu)
		return false;
	header->kind = kind;
	header->size = size;
	header->cpu = id;
	header->boot_ns = bpf_ktime_get_boot_ns();
	header->seq = header->flags & KT_FILTERED ? 0 : __sync_fetch_and_add(&cpu->next_seq, 1);
	return true;
}

/* A record that has its number, and found no room in the ring. */
static __always_inline void count_lost(u32 kind, enum kt_flag flags)
{
	struct kt_cpu *cpu = cpu_of(bpf_get_smp_processor_id());

	if (!cpu || kind >= KT_KINDS)
		return;
	if (flags & KT_FILTERED)
		__sync_fetch_and_add(&cpu->context_lost, 1);
	else
		__sync_fetch_and_add(&cpu->lost[kind], 1);
}

/* A record that can't be built still takes its number. */
static __always_inline void lose_record(u32 kind, enum kt_flag flags)
{
	struct kt_cpu *cpu = cpu_of(bpf_get_smp_processor_id());

	if (cpu && !(flags & KT_FILTERED))
		__sync_fetch_and_add(&cpu->next_seq, 1);
	count_lost(kind, flags);
}

/*
 * Room in the ring for a record of constant size: number taken, zeroed, header filled; NULL and counted when full.
 * End with `submit_record`.
 */
static __always_inline void *reserve_record(u32 kind, u32 size, enum kt_flag flags)
{
	struct kt_header header = { .flags = flags };
	void *record;

	if (!number_record(&header, kind, size))
		return NULL;
	record = bpf_ringbuf_reserve(&events, size, 0);
	if (!record) {
		count_lost(kind, flags);
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
static __always_inline void output_record(struct kt_header *record, u32 kind, u32 size)
{
	if (!number_record(record, kind, size))
		return;
	if (bpf_ringbuf_output(&events, record, size, wake_flags()))
		count_lost(kind, record->flags);
}
