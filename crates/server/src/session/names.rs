//! The rooms of one client: few, of nearly all clients, and as many as it may be in, of some.

use crate::util::reserve::reserve_one;
use roomcast_protocol::RoomName;

/// Names in their order, in no more memory than they take.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<RoomName>);

impl Names {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Adds a name, unless it is there.
    pub(super) fn insert(&mut self, name: RoomName) {
        if let Err(at) = self.find(name.as_str()) {
            reserve_one(&mut self.0);
            self.0.insert(at, name);
        }
    }

    /// Takes a name out, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<RoomName> {
        self.find(name).ok().map(|at| self.0.remove(at))
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| known.as_str().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once_until_they_are_taken() {
        let name = |name: &str| RoomName::parse(name, 255).unwrap();
        let mut names = Names::default();
        for text in ["b", "a", "c", "b"] {
            names.insert(name(text));
        }
        assert_eq!(names.len(), 3);
        assert_eq!(names.take("b"), Some(name("b")));
        assert_eq!(names.take("b"), None);
        assert!(names.contains("a") && names.contains("c") && !names.contains("b"));
    }
}
