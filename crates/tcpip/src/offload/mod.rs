//! Segmentation and coalescing where a device has none.
