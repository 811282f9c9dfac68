//! Cards that an earlier run began and did not finish.

use cluster::name::Hostname;

use crate::aligned::{Aligned, PAGE, is_zero};
use crate::device::Medium;
use crate::device::medium::read_exact;
use crate::error::Failure;

/// The nodes in the order in which they are written: where the card in a reader was begun for one of them, that one comes
/// at the reader's place. `is_begun` is asked of a reader's place and a node, and only for cards as we leave them.
pub(super) fn first<M: Medium>(
    nodes: &[Hostname],
    cards: &[M],
    is_begun: impl Fn(usize, &Hostname) -> Result<bool, Failure>,
) -> Result<Vec<Hostname>, Failure> {
    // There is nothing to choose between.
    if nodes.len() == 1 {
        return Ok(nodes.to_vec());
    }
    let mut rest = nodes.to_vec();
    let mut places = Vec::new();
    for (place, card) in cards.iter().enumerate() {
        let mut begun = None;
        if is_without_first_page(card) {
            for (at, node) in rest.iter().enumerate() {
                if is_begun(place, node)? {
                    begun = Some(at);
                    break;
                }
            }
        }
        places.push(begun.map(|at| rest.remove(at)));
    }
    let mut rest = rest.into_iter();
    let mut ordered: Vec<_> = places.into_iter().filter_map(|node| node.or_else(|| rest.next())).collect();
    ordered.extend(rest);
    Ok(ordered)
}

/// Until a card is finished, its first page is zeros.
fn is_without_first_page(card: &dyn Medium) -> bool {
    let mut page = Aligned::new(PAGE);
    read_exact(card, &mut page, 0).is_ok() && is_zero(&page)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A card of one page of that byte.
    struct Page(u8);

    impl Medium for Page {
        fn is_there(&self) -> bool {
            true
        }
        fn size(&self) -> u64 {
            PAGE as u64
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<usize> {
            buffer.fill(self.0);
            Ok(buffer.len())
        }
        fn zero(&self, _: u64, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ordered(cards: &[Page], begun: &[(usize, &str)]) -> String {
        let nodes = ["red00", "red01", "red02", "red03"].map(|name| Hostname::try_from(name).unwrap());
        let is_begun = |place, node: &Hostname| Ok(begun.contains(&(place, node.as_str())));
        let ordered = first(&nodes, cards, is_begun).unwrap();
        ordered.iter().map(Hostname::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_card_that_was_begun_comes_first_in_its_reader() {
        let (ours, other) = (|| Page(0), || Page(0xa5));
        assert_eq!(ordered(&[ours()], &[(0, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[other(), ours()], &[(1, "red03")]), "red00 red03 red01 red02");
        assert_eq!(ordered(&[ours(), ours()], &[(0, "red01"), (1, "red00")]), "red01 red00 red02 red03");
        // Two slots of one reader have one record: it is one card's.
        assert_eq!(ordered(&[ours(), ours()], &[(0, "red02"), (1, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[other()], &[(0, "red02")]), "red00 red01 red02 red03", "another card by now");
        assert_eq!(ordered(&[ours()], &[]), "red00 red01 red02 red03");
    }
}
