/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ring buffer, the sequence numbers of its records, and the counters of lost records.
 *
 * Each record takes the next sequence number of its CPU just before space is reserved for it, even when the ring is
 * full. So a gap in the numbers means lost records, and `lost` counts them by kind. Programs can interrupt each other:
 * a record from softirq context may have a higher number and yet precede the record it interrupted, but only when it
 * interrupts the few instructions between numbering and reservation. A record with KT_FILTERED takes no number: it does
 * not become a row, so a missing one is not a loss.
 *
 * Records of constant size are reserved first and filled in place. Records of exec and privilege usually take a few
 * hundred bytes but can take 28 KiB, and Linux 5.15 can only reserve constant sizes (dynptrs came with 5.19), so they
 * are built in a scratch area of the CPU and copied once.
 */
#pragma once

#include "event.h"

/* Counters of one CPU. User space maps them, so it can read them without a system call. */
struct kt_cpu {
	u64 next_seq;
	u64 lost[KT_KINDS];
	u64 filtered[KT_KINDS]; /* events that the filter dropped, including those sent with KT_FILTERED */
	u64 context_lost; /* records with KT_FILTERED for which the ring had no room */
	u64 reserved[14]; /* pads to a multiple of two cache lines */
};

#define KT_PATH_MAX 4096 /* maximum bytes of a path; of a longer one, the last components are kept */
#define KT_DATA_LEN 16384 /* maximum bytes of all paths and names of a record */
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

/* At this many unread bytes in the ring, the reader is woken immediately; below, it polls. Set at load. */
const volatile u64 wake_bytes = 1 << 17;

static __always_inline struct kt_cpu *cpu_of(u32 id)
{
	return bpf_map_lookup_elem(&cpus, &id);
}

static __always_inline u64 wake_flags(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Fills the header and takes a number. Returns false if the CPU has no counters, which never happens. */
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

/* Counts a record for which the ring had no room; its number has been taken. */
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

/* Counts a record that cannot be built as lost; it still takes a number. */
static __always_inline void lose_record(u32 kind, enum kt_flag flags)
{
	struct kt_cpu *cpu = cpu_of(bpf_get_smp_processor_id());

	if (cpu && !(flags & KT_FILTERED))
		__sync_fetch_and_add(&cpu->next_seq, 1);
	count_lost(kind, flags);
}

/*
 * Takes a number and reserves space for a record of constant size, zeroed and with its header filled. When the ring is
 * full, counts the record as lost and returns NULL. Complete the record with `submit_record`.
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

/* Sends a record built in a scratch area: `size` bytes including the strings. Its flags must already be set. */
static __always_inline void output_record(struct kt_header *record, u32 kind, u32 size)
{
	if (!number_record(record, kind, size))
		return;
	if (bpf_ringbuf_output(&events, record, size, wake_flags()))
		count_lost(kind, record->flags);
}
