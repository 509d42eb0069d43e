//! A Markdown page of bounded size: what does not fit is counted, and the page says so.

/// GitHub refuses a summary or text of more than 65,535 characters. Counted in bytes, which is
/// never less.
pub const MAX_BYTES: usize = 65_535;

/// Room kept for the line that says what was cut.
const CUT_LINE: usize = 200;

/// Built from whole items, so that no table, list or `<details>` is ever cut in the middle. The
/// footer always fits: its room is kept from the start.
pub struct Page {
    body: String,
    footer: String,
    /// Shows the whole of it.
    command: String,
    omitted: usize,
}

impl Page {
    /// `entry` is where the whole of it can be read.
    pub fn new(footer: String, entry: u64) -> Self {
        Self::of(footer, format!("gatelog log show {entry}"))
    }

    /// `command` shows the whole of it.
    pub fn of(footer: String, command: String) -> Self {
        Self { body: String::new(), footer, command, omitted: 0 }
    }

    fn room(&self) -> usize {
        MAX_BYTES.saturating_sub(self.body.len() + self.footer.len() + CUT_LINE)
    }

    pub fn paragraph(&mut self, text: &str) {
        let whole = format!("{text}\n\n");
        if whole.len() <= self.room() {
            self.body.push_str(&whole);
        } else {
            self.omitted += 1;
        }
    }

    /// `head`, as many items as fit, `foot`; nothing at all if there is no item.
    pub fn section(&mut self, head: &str, items: impl Iterator<Item = String>, foot: &str) {
        let mut items = items.peekable();
        if items.peek().is_some() {
            self.section_even_if_empty(head, items, foot);
        }
    }

    pub fn section_even_if_empty(&mut self, head: &str, items: impl Iterator<Item = String>, foot: &str) {
        let fits = self.room() >= head.len() + foot.len();
        if fits {
            self.body.push_str(head);
        }
        let mut full = !fits;
        for item in items {
            full |= self.room() < item.len() + foot.len();
            if full {
                self.omitted += 1;
            } else {
                self.body.push_str(&item);
            }
        }
        if fits {
            self.body.push_str(foot);
        } else {
            self.omitted += 1;
        }
    }

    pub fn finish(mut self) -> String {
        if self.omitted > 0 {
            self.body.push_str(&format!(
                "**Cut here: {} more did not fit into what GitHub shows.** All of it: `{}`\n\n",
                self.omitted, self.command
            ));
        }
        self.body.push_str("---\n");
        self.body.push_str(&self.footer);
        self.body
    }
}
