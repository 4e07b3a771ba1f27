//! What each query holds in memory, whatever allocated it.
//!
//! Operators of DataFusion reserve what they keep, but not what they make at a time, and some keep more than they reserve.
//! So the program's allocator counts: a thread that works for a query belongs to its [`Account`]. A large block knows the
//! account it was counted in, since batches are often freed by other threads; of small ones only the thread's sum is kept.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

/// Smallest block that knows its account.
const LARGE: usize = 1 << 10;
/// Bytes in front of a large block, at least; the last eight of them are the account's address, or null.
const HEADER: usize = 16;
/// Bytes of small blocks that a thread counts before it adds them to its account.
const SMALL_SUM: isize = 64 << 10;

/// Bytes held by one query.
#[derive(Debug, Default)]
pub(crate) struct Account {
    bytes: AtomicIsize,
    was_large: AtomicBool,
}

impl Account {
    /// One for the rest of the program's life, since blocks may outlive their query: footers of files, for example.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    /// Bytes held now, up to 64 KiB a thread less; 0 unless the program's allocator is [`Tallied`].
    pub(crate) fn bytes(&self) -> isize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A query held much.
    pub(crate) fn note_large(&self) {
        self.was_large.store(true, Ordering::Relaxed);
    }

    /// Whether one did since this was asked last.
    pub(crate) fn was_large(&self) -> bool {
        self.was_large.swap(false, Ordering::Relaxed)
    }

    fn add(&self, bytes: isize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

thread_local! {
    /// The account of this thread, and the small blocks not yet counted in it. Without a destructor, so that an allocator
    /// may use it.
    static THREAD: (Cell<Option<&'static Account>>, Cell<isize>) = const { (Cell::new(None), Cell::new(0)) };
}

/// From here on, what this thread allocates counts in `account`.
pub(crate) fn belong_to(account: &'static Account) {
    THREAD.with(|(owner, _)| owner.set(Some(account)));
}

/// Adds `bytes` of small blocks to this thread's account.
#[inline]
fn count_small(bytes: isize) {
    THREAD.with(|(owner, sum)| {
        if let Some(account) = owner.get() {
            let now = sum.get() + bytes;
            let is_much = now.abs() >= SMALL_SUM;
            sum.set(if is_much { 0 } else { now });
            if is_much {
                account.add(now);
            }
        }
    });
}

/// An allocator whose blocks count in the accounts of queries.
#[derive(Debug)]
pub struct Tallied<A>(pub A);

/// Where a large block begins within the allocator's own, and the layout of that.
#[inline]
fn with_header(layout: Layout) -> Option<(usize, Layout)> {
    let offset = layout.align().max(HEADER);
    let size = layout.size().checked_add(offset)?;
    Layout::from_size_align(size, offset).ok().map(|whole| (offset, whole))
}

impl<A: GlobalAlloc> Tallied<A> {
    /// A large block of `layout`, made by `make`.
    #[inline]
    fn large(&self, layout: Layout, make: impl FnOnce(&A, Layout) -> *mut u8) -> *mut u8 {
        let Some((offset, whole)) = with_header(layout) else { return ptr::null_mut() };
        let start = make(&self.0, whole);
        if start.is_null() {
            return start;
        }
        // SAFETY: `whole` has `offset` bytes in front of the block.
        let block = unsafe { start.add(offset) };
        self.enter(block, layout.size());
        block
    }

    /// Counts a large block of `size` bytes in this thread's account.
    #[inline]
    fn enter(&self, block: *mut u8, size: usize) {
        let owner = THREAD.with(|(owner, _)| owner.get());
        if let Some(account) = owner {
            account.add(size as isize);
        }
        // SAFETY: at least 16 bytes in front of the block are its header, whose end is aligned as the block is.
        unsafe { header(block).write(owner) };
    }

    /// Counts a large block of `size` bytes no longer.
    ///
    /// # Safety
    /// `block` has been entered.
    #[inline]
    unsafe fn leave(&self, block: *mut u8, size: usize) {
        // SAFETY: `enter` wrote it.
        if let Some(account) = unsafe { header(block).read() } {
            account.add(-(size as isize));
        }
    }
}

/// The header of a large block.
#[inline]
fn header(block: *mut u8) -> *mut Option<&'static Account> {
    block.cast::<Option<&'static Account>>().wrapping_sub(1)
}

// SAFETY: blocks come from the inner allocator with at least the size and alignment asked for, and go back to it with the
// layout they came with, which follows from the caller's. Counting allocates nothing and does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Tallied<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            // SAFETY: the whole is larger than the caller's layout, whose size is not 0.
            return self.large(layout, |inner, whole| unsafe { inner.alloc(whole) });
        }
        count_small(layout.size() as isize);
        // SAFETY: the caller's layout, as it came.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            // SAFETY: as in `alloc`.
            return self.large(layout, |inner, whole| unsafe { inner.alloc_zeroed(whole) });
        }
        count_small(layout.size() as isize);
        // SAFETY: the caller's layout, as it came.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE
            && let Some((offset, whole)) = with_header(layout)
        {
            // SAFETY: a block of this size was made by `large`, `offset` bytes into one of the layout `whole`.
            return unsafe {
                self.leave(block, layout.size());
                self.0.dealloc(block.sub(offset), whole);
            };
        }
        count_small(-(layout.size() as isize));
        // SAFETY: the caller's pointer and layout, as they came.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        match (layout.size() >= LARGE, size >= LARGE) {
            (false, false) => {
                count_small(size as isize - layout.size() as isize);
                // SAFETY: the caller's arguments, as they came.
                unsafe { self.0.realloc(block, layout, size) }
            }
            (true, true) => {
                let (Some((offset, whole)), Some((_, new_whole))) = (with_header(layout), with_header(new)) else {
                    return ptr::null_mut();
                };
                // SAFETY: the block was made by `large`, `offset` bytes into one of the layout `whole`; the offset follows
                // from the alignment alone, so it stays, as does the header, which is read before it is written anew.
                unsafe {
                    let start = self.0.realloc(block.sub(offset), whole, new_whole.size());
                    if start.is_null() {
                        return start;
                    }
                    let moved = start.add(offset);
                    self.leave(moved, layout.size());
                    self.enter(moved, size);
                    moved
                }
            }
            _ => {
                // SAFETY: the new layout is not empty; both blocks are as long as what is copied, and distinct; the old one is
                // given back with the layout it came with.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;
    use std::hint::black_box;
    use std::thread;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Tallied<System> = Tallied(System);

    /// Bytes that `work` leaves in an account, and what it returns.
    fn held_by<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> (&'static Account, T) {
        let account = Account::new();
        let made = thread::spawn(move || {
            belong_to(account);
            work()
        });
        (account, made.join().unwrap())
    }

    #[test]
    fn a_block_is_counted_where_it_was_made_and_until_it_is_freed() {
        let (account, block) = held_by(|| vec![1_u8; 1 << 20]);
        let held = account.bytes() - (1 << 20);
        assert!(held.abs() < 1 << 16, "{held}");
        drop(black_box(block));
        assert!(account.bytes().abs() < 1 << 16, "freed by another thread: {}", account.bytes());
    }

    #[test]
    fn small_blocks_are_counted() {
        let (account, texts) = held_by(|| (0..100_000).map(|_| String::from("a short text")).collect::<Vec<_>>());
        let bytes = (texts.capacity() * size_of::<String>() + texts.len() * "a short text".len()) as isize;
        assert!((account.bytes() - bytes).abs() < 1 << 17, "{} instead of {bytes}", account.bytes());
    }

    #[test]
    fn blocks_keep_their_content_and_alignment_as_they_grow_and_shrink() {
        for align in [1_usize, 2, 8, 16, 64, 128, 4096] {
            let mut layout = Layout::from_size_align(3, align).unwrap();
            // SAFETY: every pointer is used with the layout that it was last given, within its size.
            unsafe {
                let mut block = ALLOCATOR.alloc_zeroed(layout);
                block.write(7);
                for size in [1000, 1023, 1024, 1025, 5000, 1 << 20, 2048, 1024, 1023, 8, 1 << 16, 3] {
                    block = ALLOCATOR.realloc(block, layout, size);
                    layout = Layout::from_size_align(size, align).unwrap();
                    assert_eq!(
                        (block as usize % align, block.read(), block.add(1).read()),
                        (0, 7, 0),
                        "{size}, {align}"
                    );
                    block.add(size - 1).write(if size == 3 { 0 } else { 9 });
                }
                ALLOCATOR.dealloc(block, layout);
            }
        }
        let zeroed = Layout::from_size_align(1 << 16, 32).unwrap();
        // SAFETY: as above.
        unsafe {
            let block = ALLOCATOR.alloc_zeroed(zeroed);
            assert!(std::slice::from_raw_parts(block, zeroed.size()).iter().all(|byte| *byte == 0));
            ALLOCATOR.dealloc(block, zeroed);
        }
    }

    #[test]
    fn threads_without_an_account_count_nowhere() {
        let (account, ()) = held_by(|| ());
        let before = account.bytes();
        drop(black_box(vec![0_u8; 1 << 20]));
        assert_eq!(account.bytes(), before);
    }
}
