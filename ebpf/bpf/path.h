/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Paths without d_path, which only fentry programs may call: a path is built by walking dentries and mounts upwards
 * from the file to the process's root. The names are written innermost first, each terminated by NUL; user space
 * reverses their order.
 */
#pragma once

#include "ring.h"

/* Limit for names and mount crossings together: the verifier checks every step, and real paths have fewer. */
#define PATH_STEPS 64
#define PATH_NAME_MAX 255

enum path_end {
	PATH_ROOT = 0, /* reached the process's root */
	PATH_OUTSIDE = 1, /* reached the topmost mount, or the top of a detached one, without passing the root */
	PATH_UNNAMED = 2, /* a file in no directory, such as a memfd: its only name was written */
	PATH_CUT = 3,
	PATH_UNREAD = 4,
};

/* A location in the file tree. To the verifier the pointers are scalars, so they are only read through helpers. */
struct place {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct walk {
	struct place from;
	struct place root;
	u32 len; /* out */
	enum path_end end; /* out */
};

static __always_inline struct place place_of(struct path *path)
{
	struct place place = {};

	bpf_core_read(&place.mnt, sizeof(place.mnt), &path->mnt);
	bpf_core_read(&place.dentry, sizeof(place.dentry), &path->dentry);
	return place;
}

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

static __always_inline struct vfsmount *vfsmount_of(struct mount *mount)
{
	return (void *)mount + bpf_core_field_offset(struct mount, mnt);
}

/*
 * Writes the path into `data` at `*cursor` and advances the cursor. `data` must have PATH_NAME_MAX bytes of room after
 * KT_DATA_LEN.
 *
 * The cursor is in a map, not on the stack: the verifier assumes nothing about a value read from a map, so after
 * masking, each iteration of the loop starts in the same verifier state, and the number of states stays small.
 */
static __noinline int write_path(u8 *data, u32 *cursor, struct walk *walk)
{
	struct vfsmount *mnt = walk->from.mnt;
	struct dentry *dentry = walk->from.dentry;
	struct dentry *parent;
	struct mount *above;
	const unsigned char *name;
	u32 len, off, start = *cursor & KT_DATA_MASK;
	int i;

	walk->len = 0;
	walk->end = PATH_UNREAD;
	if (!mnt || !dentry)
		return 0;
	for (i = 0; i < PATH_STEPS; i++) {
		if (dentry == walk->root.dentry && mnt == walk->root.mnt) {
			walk->end = PATH_ROOT;
			break;
		}
		if (dentry == BPF_CORE_READ(mnt, mnt_root)) {
			above = BPF_CORE_READ(mount_of(mnt), mnt_parent);
			if (above == mount_of(mnt)) {
				walk->end = PATH_OUTSIDE;
				break;
			}
			dentry = BPF_CORE_READ(mount_of(mnt), mnt_mountpoint);
			mnt = vfsmount_of(above);
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		name = BPF_CORE_READ(dentry, d_name.name);
		len = BPF_CORE_READ(dentry, d_name.len) & PATH_NAME_MAX;
		off = *cursor & KT_DATA_MASK;
		if (off > start + KT_PATH_MAX - PATH_NAME_MAX - 1) {
			walk->end = PATH_CUT;
			break;
		}
		if (!parent || bpf_probe_read_kernel(data + off, len, name))
			break;
		data[off + len] = 0;
		*cursor = off + len + 1;
		if (parent == dentry) {
			walk->end = PATH_UNNAMED;
			break;
		}
		dentry = parent;
	}
	if (i == PATH_STEPS)
		walk->end = PATH_CUT;
	walk->len = *cursor - start;
	return 0;
}

static __always_inline bool is_deleted(struct dentry *dentry)
{
	/* Not in the hash table of names; the root of a file system, which is never in it, is excluded. */
	return dentry && !BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry;
}
