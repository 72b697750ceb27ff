// SPDX-License-Identifier: GPL-2.0

//! Versions that build on others: their control tables, resolved, and the pages of older versions.

use super::load::{Control, Reader};
use super::pages::Page;
use super::Damaged;
use crate::output::Progress;
use crate::store::App;
use geist_image::control::{ControlHeader, Extent};
use geist_image::task_mm::file_bytes;
use geist_image::{Damage, FileKind, PAGE_SIZE};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// The pages of a `task_mm` file, its bytes and the checksum of its indexes.
#[derive(Clone)]
struct Stored {
    pages: Rc<Vec<Page>>,
    bytes: u64,
    crc: u32,
}

/// The versions of an application, whose files are read once for all that need them.
pub struct Chain<'a> {
    /// The application.
    pub app: &'a App,
    /// Their control tables.
    pub tables: Tables,
    stored: HashMap<(u32, u64), Result<Stored, Damaged>>,
}

impl<'a> Chain<'a> {
    /// The versions of `app`.
    pub fn new(app: &'a App) -> Self {
        Self {
            app,
            tables: Tables::default(),
            stored: HashMap::new(),
        }
    }

    /// The pages of process `pid` in the file with this number, every byte of them checked.
    pub fn pages(
        &mut self,
        pid: u32,
        number: u64,
        progress: &mut Progress,
    ) -> Result<Rc<Vec<Page>>, Damaged> {
        Ok(self.stored(pid, number, progress)?.pages)
    }

    /// Bytes of that file and the checksum of its indexes.
    pub fn figures(
        &mut self,
        pid: u32,
        number: u64,
        progress: &mut Progress,
    ) -> Result<(u64, u32), Damaged> {
        let stored = self.stored(pid, number, progress)?;
        Ok((stored.bytes, stored.crc))
    }

    fn stored(
        &mut self,
        pid: u32,
        number: u64,
        progress: &mut Progress,
    ) -> Result<Stored, Damaged> {
        let app = self.app;
        let read = || {
            let read = Reader::of_number(app, number).pages(pid, progress)?;
            Ok(Stored {
                bytes: file_bytes(read.pages.len() as u64),
                pages: Rc::new(read.pages),
                crc: read.index_crc,
            })
        };
        self.stored
            .entry((pid, number))
            .or_insert_with(read)
            .clone()
    }
}

/// Control tables, each resolved on top of the one before where that is what it builds on: then a
/// chain is read once for all of its versions.
#[derive(Default)]
pub struct Tables {
    /// Process, number of its control file, and the table.
    last: Option<(u32, u64, Table)>,
}

impl Tables {
    /// The complete table behind a control file: where the content of every page lies.
    ///
    /// Its extents lie within the files that they name, as far as the sizes of those tell.
    pub fn resolve(
        &mut self,
        reader: &Reader<'_>,
        pid: u32,
        control: Control,
    ) -> Result<Control, Damaged> {
        let (header, table) = self.put_together(reader, pid, control)?;
        let extents = table.extents();
        check_places(reader.app, pid, &extents)
            .map_err(|damage| reader.damaged(&reader.name(FileKind::Control, pid), &damage))?;
        Ok((header, extents))
    }

    /// What the table behind a control file names, as far as the table before it did not.
    pub fn follow(
        &mut self,
        reader: &Reader<'_>,
        pid: u32,
        control: Control,
    ) -> Result<Followed, Damaged> {
        let (_, table) = self.put_together(reader, pid, control)?;
        let changed = std::mem::take(&mut table.changed);
        let named = |number: &u64| table.uses.contains_key(number);
        let (came, went) = changed.into_iter().partition(named);
        Ok(Followed {
            anew: std::mem::take(&mut table.anew),
            came,
            went,
            bases: table.bases.clone(),
        })
    }

    fn put_together(
        &mut self,
        reader: &Reader<'_>,
        pid: u32,
        (header, extents): Control,
    ) -> Result<(ControlHeader, &mut Table), Damaged> {
        let mut bases = BTreeSet::new();
        let mut base = header.base;
        let mut deltas = vec![extents];
        let mut table = Table {
            anew: true,
            ..Table::default()
        };
        while base != 0 {
            bases.insert(base);
            match self.last.take() {
                Some((of, number, last)) if (of, number) == (pid, base) => {
                    table = last;
                    bases.extend(&table.bases);
                    break;
                }
                // Numbers fall along a chain: it may come to that one yet.
                Some(last) if last.0 == pid && last.1 < base => self.last = Some(last),
                _ => {}
            }
            let (header, extents) = Reader::of_number(reader.app, base).control(pid, &[])?;
            deltas.push(extents);
            base = header.base;
        }
        for extent in deltas.iter().rev().flatten() {
            table.set(extent);
        }
        if table.pages != header.address_count {
            let damage = Damage::Value("the number of addresses");
            return Err(reader.damaged(&reader.name(FileKind::Control, pid), &damage));
        }
        table.bases = bases;
        let (_, _, table) = self.last.insert((pid, reader.number, table));
        Ok((header, table))
    }
}

/// What the table of a version names.
pub struct Followed {
    /// Nothing is known of the table before: it names what came, and nothing else.
    pub anew: bool,
    /// Numbers of `task_mm` files that the table before did not name.
    pub came: Vec<u64>,
    /// Those that only the table before named.
    pub went: Vec<u64>,
    /// Numbers of the control files that this one builds on.
    pub bases: BTreeSet<u64>,
}

/// Extents must lie within the files that they name.
fn check_places(app: &App, pid: u32, table: &[Extent]) -> Result<(), Damage> {
    let mut stored = HashMap::new();
    for extent in table {
        let name = geist_image::name::Name::new(FileKind::TaskMm, pid, extent.version);
        let room = *stored.entry(extent.version).or_insert_with(|| {
            let metadata = app
                .open_file(name.as_str())
                .and_then(|file| file.metadata());
            metadata.map_or(u64::MAX, |metadata| metadata.len() / PAGE_SIZE as u64)
        });
        // A file that is missing is named when it is read.
        let end = extent.offset.checked_add(extent.pages);
        if end.is_none_or(|end| room != u64::MAX && end > room) {
            return Err(Damage::Value("an extent"));
        }
    }
    Ok(())
}

/// A table being put together. What is asked of all of it is counted while it changes, so that a
/// version costs what it changed.
#[derive(Default)]
struct Table {
    /// By their first addresses, apart from each other.
    extents: BTreeMap<u64, Extent>,
    /// Numbers of the control files behind its last one.
    bases: BTreeSet<u64>,
    pages: u64,
    /// How many extents lie in the files with these numbers.
    uses: BTreeMap<u64, usize>,
    /// Files that came to be named or not to be named since that was asked.
    changed: BTreeSet<u64>,
    /// Nothing was asked of it yet.
    anew: bool,
}

impl Table {
    /// Puts an extent over what is there; one of version 0 makes a hole.
    fn set(&mut self, extent: &Extent) {
        let Some(end) = extent.end() else {
            return;
        };
        self.split(extent.address);
        self.split(end);
        let covered: Vec<u64> = self
            .extents
            .range(extent.address..end)
            .map(|(key, _)| *key)
            .collect();
        for key in covered {
            self.remove(key);
        }
        if extent.version != 0 {
            self.insert(*extent);
        }
    }

    fn insert(&mut self, extent: Extent) {
        self.pages += extent.pages;
        let uses = self.uses.entry(extent.version).or_default();
        *uses += 1;
        if *uses == 1 {
            self.toggle(extent.version);
        }
        self.extents.insert(extent.address, extent);
    }

    fn remove(&mut self, address: u64) -> Option<Extent> {
        let extent = self.extents.remove(&address)?;
        self.pages -= extent.pages;
        if let Some(uses) = self.uses.get_mut(&extent.version) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&extent.version);
                self.toggle(extent.version);
            }
        }
        Some(extent)
    }

    /// A file came to be named, or not to be: what did both did neither.
    fn toggle(&mut self, number: u64) {
        if !self.changed.remove(&number) {
            self.changed.insert(number);
        }
    }

    /// Makes an extent begin at `address` where one goes over it.
    fn split(&mut self, address: u64) {
        let Some((_, over)) = self.extents.range(..address).next_back() else {
            return;
        };
        if over.end().is_none_or(|end| end <= address) {
            return;
        }
        let start = over.address;
        let Some(whole) = self.remove(start) else {
            return;
        };
        let before = (address - start) / PAGE_SIZE as u64;
        self.insert(Extent {
            pages: before,
            ..whole
        });
        self.insert(Extent {
            address,
            pages: whole.pages - before,
            offset: whole.offset.saturating_add(before),
            ..whole
        });
    }

    /// All extents, neighbours that belong together joined.
    fn extents(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for extent in self.extents.values().copied() {
            match extents.last_mut() {
                Some(last)
                    if last.end() == Some(extent.address)
                        && last.version == extent.version
                        && last.offset.checked_add(last.pages) == Some(extent.offset) =>
                {
                    last.pages += extent.pages;
                }
                _ => extents.push(extent),
            }
        }
        extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(page: u64, pages: u64, version: u64, offset: u64) -> Extent {
        Extent {
            address: page * PAGE_SIZE as u64,
            pages,
            version,
            offset,
        }
    }

    #[test]
    fn over_each_other() {
        let mut table = Table::default();
        table.set(&extent(10, 10, 1, 0));
        table.set(&extent(12, 2, 2, 0));
        table.set(&extent(18, 4, 0, 0));
        assert_eq!(
            table.extents(),
            [
                extent(10, 2, 1, 0),
                extent(12, 2, 2, 0),
                extent(14, 4, 1, 4)
            ]
        );
    }

    #[test]
    fn page_by_page_is_the_same() {
        // Against the simplest table there is: one entry per page.
        let mut seed = 7u64;
        let mut below = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % limit
        };
        for _ in 0..200 {
            let (mut table, mut pages) = (Table::default(), BTreeMap::new());
            for version in 1..20u64 {
                let extent = extent(1 + below(40), 1 + below(12), version * below(2), below(100));
                table.set(&extent);
                for page in 0..extent.pages {
                    let address = extent.address + page * PAGE_SIZE as u64;
                    match extent.version {
                        0 => pages.remove(&address),
                        version => pages.insert(address, (version, extent.offset + page)),
                    };
                }
            }
            let extents = table.extents();
            let sum: u64 = extents.iter().map(|extent| extent.pages).sum();
            assert_eq!(table.pages, sum);
            let named: BTreeSet<u64> = extents.iter().map(|extent| extent.version).collect();
            assert!(table.uses.keys().eq(&named) && table.changed == named);
            let rows = extents.iter().flat_map(|e| {
                (0..e.pages).map(|n| (e.address + n * 4096, (e.version, e.offset + n)))
            });
            assert!(rows.eq(pages), "{extents:?}");
        }
    }
}
