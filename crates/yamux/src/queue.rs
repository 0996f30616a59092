//! Queues of byte chunks, all of one session in one arena.
//!
//! A stream's queue is two indices and a count, so that an idle stream pays nothing for it and a
//! new stream's first bytes need no allocation once the arena has grown.

use bytes::{Bytes, BytesMut};

const NIL: u32 = u32::MAX;

/// Bounds of a chunk that small pieces are copied into: never smaller, and never larger than
/// this; in between it follows what the queue holds, so that the spare room stays in proportion.
const MIN_GROWING: usize = 256;
const MAX_GROWING: usize = 16 * 1024;

/// An arena that has shrunk to nothing gives its memory back when it was larger than this.
const KEEP_NODES: usize = 1024;

#[derive(Debug)]
enum Chunk {
    Free,
    /// A slice of a read buffer, or what the application wrote.
    Shared(Bytes),
    /// Small pieces behind each other, with room for more.
    Growing(BytesMut),
}

impl Chunk {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Free => &[],
            Chunk::Shared(bytes) => bytes,
            Chunk::Growing(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Node {
    chunk: Chunk,
    next: u32,
}

/// The arena.
#[derive(Debug)]
pub(crate) struct Chunks {
    nodes: Vec<Node>,
    free: u32,
    in_use: usize,
}

/// One queue of an arena. It must be emptied with [`Chunks::clear`] before it is dropped.
#[derive(Debug)]
pub(crate) struct Queue {
    head: u32,
    tail: u32,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            head: NIL,
            tail: NIL,
            bytes: 0,
        }
    }
}

impl Queue {
    /// Bytes in the queue.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Chunks {
    pub(crate) fn new() -> Chunks {
        Chunks {
            nodes: Vec::new(),
            free: NIL,
            in_use: 0,
        }
    }

    /// Appends a slice without a copy.
    #[inline]
    pub(crate) fn push(&mut self, queue: &mut Queue, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        queue.bytes = queue.bytes.saturating_add(bytes.len());
        self.link(queue, Chunk::Shared(bytes));
    }

    /// Appends by copy, to the last chunk when it has room.
    pub(crate) fn push_copy(&mut self, queue: &mut Queue, mut bytes: &[u8]) {
        let before = queue.bytes;
        queue.bytes = queue.bytes.saturating_add(bytes.len());
        if let Some(Node {
            chunk: Chunk::Growing(tail),
            ..
        }) = self.node_mut(queue.tail)
        {
            let room = tail.capacity().saturating_sub(tail.len()).min(bytes.len());
            let (fits, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            tail.extend_from_slice(fits);
            bytes = rest;
        }
        if bytes.is_empty() {
            return;
        }
        let capacity = before.clamp(MIN_GROWING, MAX_GROWING).max(bytes.len());
        let mut chunk = BytesMut::with_capacity(capacity);
        chunk.extend_from_slice(bytes);
        self.link(queue, Chunk::Growing(chunk));
    }

    /// The first chunk's bytes; empty when the queue is.
    #[inline]
    pub(crate) fn front(&self, queue: &Queue) -> &[u8] {
        match self.node(queue.head) {
            Some(node) => node.chunk.as_slice(),
            None => &[],
        }
    }

    /// Takes the first chunk, or its first `max` bytes.
    #[inline]
    pub(crate) fn pop(&mut self, queue: &mut Queue, max: usize) -> Option<Bytes> {
        if max == 0 {
            return None;
        }
        let node = self.node_mut(queue.head)?;
        let taken = if node.chunk.as_slice().len() > max {
            match &mut node.chunk {
                Chunk::Free => return None,
                Chunk::Shared(bytes) => bytes.split_to(max),
                Chunk::Growing(bytes) => bytes.split_to(max).freeze(),
            }
        } else {
            let chunk = std::mem::replace(&mut node.chunk, Chunk::Free);
            self.unlink_head(queue);
            match chunk {
                Chunk::Free => return None,
                Chunk::Shared(bytes) => bytes,
                Chunk::Growing(bytes) => bytes.freeze(),
            }
        };
        queue.bytes = queue.bytes.saturating_sub(taken.len());
        Some(taken)
    }

    /// Drops the first `count` bytes of the first chunk.
    #[inline]
    pub(crate) fn consume(&mut self, queue: &mut Queue, count: usize) {
        let Some(node) = self.node_mut(queue.head) else {
            return;
        };
        let length = node.chunk.as_slice().len();
        if count < length {
            match &mut node.chunk {
                Chunk::Free => {}
                Chunk::Shared(bytes) => bytes::Buf::advance(bytes, count),
                Chunk::Growing(bytes) => bytes::Buf::advance(bytes, count),
            }
        } else {
            node.chunk = Chunk::Free;
            self.unlink_head(queue);
        }
        queue.bytes = queue.bytes.saturating_sub(count.min(length));
    }

    /// Empties the queue and says how many bytes it held.
    pub(crate) fn clear(&mut self, queue: &mut Queue) -> usize {
        let bytes = queue.bytes;
        while let Some(node) = self.node_mut(queue.head) {
            node.chunk = Chunk::Free;
            self.unlink_head(queue);
        }
        queue.bytes = 0;
        bytes
    }

    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    #[inline]
    fn node_mut(&mut self, index: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(index).ok()?)
    }

    #[inline]
    fn link(&mut self, queue: &mut Queue, chunk: Chunk) {
        let index = self.allocate(chunk);
        match self.node_mut(queue.tail) {
            Some(tail) => tail.next = index,
            None => queue.head = index,
        }
        queue.tail = index;
    }

    #[inline]
    fn allocate(&mut self, chunk: Chunk) -> u32 {
        self.in_use = self.in_use.saturating_add(1);
        let index = self.free;
        if let Some(node) = self.node_mut(index) {
            let next = std::mem::replace(&mut node.next, NIL);
            node.chunk = chunk;
            self.free = next;
            return index;
        }
        // 2^32 chunks do not fit in memory, so the index always does.
        let index = u32::try_from(self.nodes.len()).unwrap_or(NIL);
        self.nodes.push(Node { chunk, next: NIL });
        index
    }

    /// Takes the head, whose chunk is gone already, off the queue and frees its node.
    #[inline]
    fn unlink_head(&mut self, queue: &mut Queue) {
        let index = queue.head;
        let free = self.free;
        let Some(node) = self.node_mut(index) else {
            return;
        };
        queue.head = std::mem::replace(&mut node.next, free);
        if queue.head == NIL {
            queue.tail = NIL;
        }
        self.free = index;
        self.in_use = self.in_use.saturating_sub(1);
        if self.in_use == 0 && self.nodes.len() > KEEP_NODES {
            self.nodes = Vec::new();
            self.free = NIL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &mut Chunks, queue: &mut Queue, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(bytes) = chunks.pop(queue, step) {
            out.extend_from_slice(&bytes);
        }
        out
    }

    #[test]
    fn bytes_come_out_in_order_in_any_step() {
        for step in [1, 2, 3, 7, 1000] {
            let mut chunks = Chunks::new();
            let (mut a, mut b) = (Queue::default(), Queue::default());
            chunks.push(&mut a, Bytes::from_static(b"one "));
            chunks.push(&mut b, Bytes::from_static(b"other"));
            chunks.push_copy(&mut a, b"two ");
            chunks.push_copy(&mut a, b"three ");
            chunks.push(&mut a, Bytes::from_static(b"four"));
            chunks.push_copy(&mut a, b" five");
            assert_eq!(a.len(), 23);
            assert_eq!(all(&mut chunks, &mut a, step), b"one two three four five");
            assert!(a.is_empty());
            assert_eq!(all(&mut chunks, &mut b, step), b"other");
            assert_eq!(chunks.in_use, 0);
        }
    }

    #[test]
    fn small_pieces_share_a_chunk_with_spare_room_in_proportion() {
        let mut chunks = Chunks::new();
        let mut queue = Queue::default();
        chunks.push(&mut queue, Bytes::from_static(b"x"));
        for _ in 0..100_000 {
            chunks.push_copy(&mut queue, b"y");
        }
        assert!(chunks.in_use < 20, "{} chunks", chunks.in_use);
        assert_eq!(queue.len(), 100_001);
        assert_eq!(chunks.clear(&mut queue), 100_001);
        assert_eq!((chunks.in_use, queue.len()), (0, 0));
    }

    #[test]
    fn consume_goes_chunk_by_chunk() {
        let mut chunks = Chunks::new();
        let mut queue = Queue::default();
        chunks.push(&mut queue, Bytes::from_static(b"abcdef"));
        chunks.push_copy(&mut queue, b"ghi");
        chunks.consume(&mut queue, 2);
        assert_eq!(chunks.front(&queue), b"cdef");
        chunks.consume(&mut queue, 4);
        assert_eq!(chunks.front(&queue), b"ghi");
        chunks.consume(&mut queue, 1);
        assert_eq!((chunks.front(&queue), queue.len()), (&b"hi"[..], 2));
        chunks.consume(&mut queue, 2);
        assert!(chunks.front(&queue).is_empty() && queue.is_empty());
    }

    #[test]
    fn nodes_are_used_again() {
        let mut chunks = Chunks::new();
        let mut queue = Queue::default();
        for _ in 0..1000 {
            chunks.push(&mut queue, Bytes::from_static(b"abc"));
            chunks.push(&mut queue, Bytes::from_static(b"def"));
            assert_eq!(chunks.clear(&mut queue), 6);
        }
        assert_eq!(chunks.nodes.len(), 2);
    }
}
