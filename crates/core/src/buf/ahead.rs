//! Bytes that wait behind a gap.

#![deny(clippy::arithmetic_side_effects)]

use core::ops::Range;
use std::collections::VecDeque;

use super::chunks::{Chunks, PAGE, Page};

const PAGE_BYTES: u64 = PAGE as u64;
/// A list of pages that grew beyond this is not kept when nothing is held.
const KEEP_PAGES: usize = 16;

/// Bytes ahead of a gap, at their places.
#[derive(Default)]
pub(super) struct Ahead {
    /// Number of the first page: its offset by [`PAGE_BYTES`].
    first: u64,
    pages: VecDeque<Option<Box<Page>>>,
    /// Bytes held.
    count: u64,
}

impl core::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes in {} pages", self.count, self.pages.len())
    }
}

impl Ahead {
    /// Bytes held.
    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Puts `data` at `offset` and says how many bytes were new.
    pub(super) fn insert(&mut self, mut offset: u64, mut data: &[u8], chunks: &mut Chunks) -> u64 {
        let before = self.count;
        while !data.is_empty() {
            let at = page_offset(offset);
            let (here, rest) = data.split_at(data.len().min(PAGE.saturating_sub(at)));
            if let Some(slot) = self.slot(number(offset)) {
                let page = slot.get_or_insert_with(|| chunks.take_page());
                let new = page.put(at, here);
                self.count = self.count.saturating_add(new);
            }
            offset = offset.saturating_add(here.len() as u64);
            data = rest;
        }
        self.count.saturating_sub(before)
    }

    /// The place of a page, made when there is none.
    fn slot(&mut self, number: u64) -> Option<&mut Option<Box<Page>>> {
        if self.pages.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.pages.push_front(None);
            self.first = self.first.saturating_sub(1);
        }
        let at = usize::try_from(number.saturating_sub(self.first)).ok()?;
        if at >= self.pages.len() {
            self.pages.resize_with(at.saturating_add(1), || None);
        }
        self.pages.get_mut(at)
    }

    /// Forgets what is held below `offset` and says how many bytes that were.
    pub(super) fn remove_below(&mut self, offset: u64, chunks: &mut Chunks) -> u64 {
        let mut removed: u64 = 0;
        while self.first < number(offset)
            && let Some(page) = self.pages.pop_front()
        {
            self.first = self.first.saturating_add(1);
            if let Some(page) = page {
                let held = page.bits.iter().map(|bits| count(*bits));
                removed = held.fold(removed, u64::saturating_add);
                chunks.give_page(page);
            }
        }
        if self.first == number(offset)
            && let Some(Some(page)) = self.pages.front_mut()
        {
            removed = removed.saturating_add(page.remove(0, page_offset(offset)));
        }
        self.count = self.count.saturating_sub(removed);
        removed
    }

    /// Takes out the page whose bytes from..to go on at `offset`, if the byte there is held.
    pub(super) fn take_run(&mut self, offset: u64) -> Option<(Box<Page>, usize, usize)> {
        if self.first != number(offset) {
            return None;
        }
        let from = page_offset(offset);
        let slot = self.pages.front_mut()?;
        let run = slot.as_ref()?.run(from);
        if run == 0 {
            return None;
        }
        let page = slot.take()?;
        self.count = self.count.saturating_sub(run as u64);
        Some((page, from, from.saturating_add(run)))
    }

    /// Puts back the page that was taken, of which the bytes of `run` were moved out.
    pub(super) fn put_back(&mut self, mut page: Box<Page>, run: Range<usize>, chunks: &mut Chunks) {
        if run.end >= PAGE {
            self.pages.pop_front();
            self.first = self.first.saturating_add(1);
            chunks.give_page(page);
        } else {
            page.remove(run.start, run.end);
            if let Some(slot) = self.pages.front_mut() {
                *slot = Some(page);
            }
        }
    }

    pub(super) fn clear(&mut self, chunks: &mut Chunks) {
        if self.pages.is_empty() {
            return;
        }
        for page in self.pages.drain(..).flatten() {
            chunks.give_page(page);
        }
        if self.pages.capacity() > KEEP_PAGES {
            self.pages = VecDeque::new();
        }
        self.count = 0;
    }
}

impl Page {
    /// Puts `data` at `at` and says how many bytes were new.
    fn put(&mut self, at: usize, data: &[u8]) -> u64 {
        let to = at.saturating_add(data.len());
        let Some(place) = self.data.get_mut(at..to) else {
            return 0;
        };
        place.copy_from_slice(data);
        let mut new: u64 = 0;
        self.each_word(at, to, |bits, mask| {
            new = new.saturating_add(count(mask & !*bits));
            *bits |= mask;
        });
        new
    }

    /// Forgets the bytes from..to and says how many of them were there.
    fn remove(&mut self, from: usize, to: usize) -> u64 {
        let mut removed: u64 = 0;
        self.each_word(from, to, |bits, mask| {
            removed = removed.saturating_add(count(mask & *bits));
            *bits &= !mask;
        });
        removed
    }

    /// Calls `change` with each word that the bits from..to lie in, and the mask of those bits.
    #[inline]
    fn each_word(&mut self, from: usize, to: usize, mut change: impl FnMut(&mut u64, u64)) {
        let Some(last) = to.checked_sub(1).filter(|last| *last >= from) else {
            return;
        };
        let Some([first, rest @ ..]) = self.bits.get_mut(from >> 6..=last >> 6) else {
            return;
        };
        let low = u64::MAX << (from & 63);
        let high = u64::MAX >> 63_usize.saturating_sub(last & 63);
        match rest {
            [] => change(first, low & high),
            [whole @ .., last] => {
                change(first, low);
                whole.iter_mut().for_each(|bits| change(bits, u64::MAX));
                change(last, high);
            }
        }
    }

    /// How many bytes are there from `from` on without a gap.
    fn run(&self, from: usize) -> usize {
        let bit = from & 63;
        let Some([first, rest @ ..]) = self.bits.get(from >> 6..) else {
            return 0;
        };
        let run = (first >> bit).trailing_ones() as usize;
        if bit.saturating_add(run) < 64 {
            return run;
        }
        let whole = rest.iter().take_while(|bits| **bits == u64::MAX).count();
        let last = rest.get(whole).map_or(0, |bits| bits.trailing_ones());
        let run = run.saturating_add(whole.saturating_mul(64));
        run.saturating_add(last as usize)
    }
}

/// How many bits are set. Nearly always all or none: without a processor's own instruction for it,
/// counting takes longer than looking.
#[inline]
fn count(bits: u64) -> u64 {
    match bits {
        0 => 0,
        u64::MAX => 64,
        _ => u64::from(bits.count_ones()),
    }
}

/// The number of the page that an offset lies in.
const fn number(offset: u64) -> u64 {
    offset >> PAGE_BYTES.trailing_zeros()
}

/// The place of an offset in its page.
const fn page_offset(offset: u64) -> usize {
    (offset & (PAGE_BYTES.wrapping_sub(1))) as usize
}

const _: () = assert!(PAGE.is_power_of_two() && PAGE >= 64);
