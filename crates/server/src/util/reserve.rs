//! Lists of which most clients have one entry, and a few have many.

/// Makes room for one more: from one on, doubling, where a `Vec` begins with room for four.
pub(crate) fn reserve_one<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_from_one_on() {
        let mut list = Vec::new();
        let capacities: Vec<_> = (0..5)
            .map(|entry| {
                reserve_one(&mut list);
                list.push(entry);
                list.capacity()
            })
            .collect();
        assert_eq!(capacities, [1, 2, 4, 4, 8]);
    }
}
