// SPDX-License-Identifier: GPL-2.0

//! What is shown, once for people and programs: named values, tables and sections of them.

use crate::output;
use serde_json::{Map, Value};

/// A value: words for people, and what programs get.
pub struct Cell {
    words: String,
    value: Value,
}

/// A plain number.
pub fn number(number: impl Into<i128>) -> Cell {
    let number = number.into();
    let value = match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => number.into(),
        (_, Ok(number)) => number.into(),
        _ => number.to_string().into(),
    };
    Cell {
        words: number.to_string(),
        value,
    }
}

/// An address or another number that is read in hexadecimal.
pub fn address(number: u64) -> Cell {
    said(format!("{number:#x}"), number)
}

/// A limit, where the largest number means none.
pub fn limit(number: u64) -> Cell {
    match number {
        u64::MAX => Cell {
            words: "unlimited".to_owned(),
            value: Value::Null,
        },
        _ => self::number(number),
    }
}

/// Text of the system or of users.
pub fn text(text: &str) -> Cell {
    said(output::plain(text), text)
}

/// Bytes that should be text.
pub fn bytes(bytes: &[u8]) -> Cell {
    text(&String::from_utf8_lossy(bytes))
}

/// Yes or no.
pub fn yes(yes: bool) -> Cell {
    said(if yes { "yes" } else { "no" }.to_owned(), yes)
}

/// Words for people, and another value for programs.
pub fn said(words: String, value: impl Into<Value>) -> Cell {
    Cell {
        words,
        value: value.into(),
    }
}

/// A part of a section.
enum Item {
    Value(String, Cell),
    Table(Table),
    Section(Section),
    List(String, Vec<Section>),
}

/// A table.
pub struct Table {
    name: String,
    head: Vec<&'static str>,
    right: Vec<usize>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table; columns whose name begins with `>` are aligned to the right.
    pub fn new(name: &str, head: &[&'static str]) -> Self {
        let right = (0..).zip(head).filter(|(_, name)| name.starts_with('>'));
        Self {
            name: name.to_owned(),
            right: right.map(|(column, _)| column).collect(),
            head: head
                .iter()
                .map(|name| name.trim_start_matches('>'))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let rows = self.rows.iter();
        let rows: Vec<Vec<String>> = rows
            .map(|row| row.iter().map(|cell| cell.words.clone()).collect())
            .collect();
        output::table(&self.head, &self.right, &rows)
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Value {
            let keys = self.head.iter().map(|name| key(name));
            let values = row.iter().map(|cell| cell.value.clone());
            Value::Object(keys.zip(values).collect())
        };
        self.rows.iter().map(object).collect()
    }
}

/// Named parts under a title.
pub struct Section {
    title: String,
    items: Vec<Item>,
}

impl Section {
    /// An empty section.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            items: Vec::new(),
        }
    }

    /// Adds a value.
    pub fn value(&mut self, name: &str, cell: Cell) -> &mut Self {
        self.items.push(Item::Value(name.to_owned(), cell));
        self
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.items.push(Item::Table(table));
        self
    }

    /// Adds a section.
    pub fn section(&mut self, section: Section) -> &mut Self {
        self.items.push(Item::Section(section));
        self
    }

    /// Adds sections of one kind.
    pub fn list(&mut self, name: &str, sections: Vec<Section>) -> &mut Self {
        self.items.push(Item::List(name.to_owned(), sections));
        self
    }

    /// The section for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        text.push_str(&format!("{indent}{}\n", self.title));
        for item in &self.items {
            match item {
                Item::Value(name, cell) => {
                    text.push_str(&format!("{indent}  {name}: {}\n", cell.words));
                }
                Item::Table(table) if table.rows.is_empty() => {
                    text.push_str(&format!("{indent}  {}: none\n", table.name));
                }
                Item::Table(table) => {
                    text.push_str(&format!("{indent}  {}:\n", table.name));
                    for line in table.text().lines() {
                        text.push_str(&format!("{indent}    {line}\n"));
                    }
                }
                Item::Section(section) => section.write(text, depth + 1),
                Item::List(_, sections) => {
                    for section in sections {
                        section.write(text, depth + 1);
                    }
                }
            }
        }
    }

    /// The section for programs, without its title.
    pub fn json(&self) -> Value {
        let member = |item: &Item| match item {
            Item::Value(name, cell) => (key(name), cell.value.clone()),
            Item::Table(table) => (key(&table.name), table.json()),
            Item::Section(section) => (key(&section.title), section.json()),
            Item::List(name, sections) => (key(name), sections.iter().map(Section::json).collect()),
        };
        Value::Object(self.items.iter().map(member).collect::<Map<_, _>>())
    }
}

/// The name of a value in JSON.
fn key(name: &str) -> String {
    name.to_ascii_lowercase().replace(' ', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let mut table = Table::new("open files", &[">FD", "Path"]);
        table.row(vec![number(3), text("/tmp/\x1b")]);
        let mut inner = Section::new("memory");
        inner.value("start", address(4096)).table(table);
        let mut section = Section::new("process 812");
        section.value("nice value", number(-5)).section(inner);
        assert_eq!(
            section.text(),
            "process 812\n  nice value: -5\n  memory\n    start: 0x1000\n    open files:\n      FD  Path\n       3  /tmp/?\n"
        );
        assert_eq!(
            section.json(),
            serde_json::json!({
                "nice_value": -5,
                "memory": { "start": 4096, "open_files": [{ "fd": 3, "path": "/tmp/\x1b" }] },
            })
        );
    }
}
