//! The output of one input file: lines in another order than they came, within a window of bounded memory; always the same
//! order for the same file.

use std::io::{Result, Write};

use jiff::Timestamp;

use crate::simulator::Simulator;
use crate::simulator::s3::objects::Writer;

/// As many lines wait to be written, or as many bytes.
const WINDOW_LINES: usize = 1000;
const WINDOW_BYTES: usize = 1 << 20;

/// In which order lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Shuffled,
    AsRead,
}

#[derive(Debug)]
pub(crate) struct Output {
    writer: Writer,
    order: Order,
    window: Vec<Vec<u8>>,
    bytes: usize,
    random: fastrand::Rng,
}

impl Output {
    /// Begins `key`; `name` decides the order.
    pub(crate) fn begin(simulator: &Simulator, (bucket, key): (&str, &str), name: &str, order: Order) -> Result<Self> {
        let random = fastrand::Rng::with_seed(u64::from(crc32fast::hash(name.as_bytes())));
        let writer = simulator.objects().write(bucket, key)?;
        Ok(Self { writer, order, window: Vec::new(), bytes: 0, random })
    }

    pub(crate) fn push(&mut self, line: Vec<u8>) -> Result<()> {
        if self.order == Order::AsRead {
            return self.writer.write_all(&line);
        }
        self.bytes += line.len();
        self.window.push(line);
        while self.window.len() > WINDOW_LINES || (self.bytes > WINDOW_BYTES && self.window.len() > 1) {
            self.write_one()?;
        }
        Ok(())
    }

    /// The object is there.
    pub(crate) fn finish(mut self, at: Timestamp) -> Result<()> {
        while !self.window.is_empty() {
            self.write_one()?;
        }
        self.writer.finish(at);
        Ok(())
    }

    fn write_one(&mut self) -> Result<()> {
        let line = self.window.swap_remove(self.random.usize(..self.window.len()));
        self.bytes -= line.len();
        self.writer.write_all(&line)
    }
}
