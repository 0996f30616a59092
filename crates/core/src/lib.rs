//! What every weir engine shares: windows, budgets, buffers, schedulers, timers, traces.
