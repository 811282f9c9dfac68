//! Cards that an earlier run began and did not finish.

use cluster::name::Hostname;

use crate::aligned::{Aligned, PAGE, is_zero};
use crate::device::medium::read_exact;
use crate::device::{Claimed, Medium};
use crate::error::Failure;
use crate::fetch::Base;
use crate::flash::content::{Blocks, PIECE, Patches};
use crate::flash::journal::Journal;

/// The nodes in the order in which they are written: where the card in a reader was begun for one of them, that one comes
/// at the reader's place. `is_begun` is asked of a reader's place and a node, and only for cards that are `unfinished`.
pub(super) fn first(
    nodes: &[Hostname],
    unfinished: &[bool],
    is_begun: impl Fn(usize, &Hostname) -> Result<bool, Failure>,
) -> Result<Vec<Hostname>, Failure> {
    // There is nothing to choose between.
    if nodes.len() == 1 {
        return Ok(nodes.to_vec());
    }
    let mut rest = nodes.to_vec();
    let mut places = Vec::new();
    for (place, unfinished) in unfinished.iter().enumerate() {
        let mut begun = None;
        for (at, node) in rest.iter().enumerate().filter(|_| *unfinished) {
            if is_begun(place, node)? {
                begun = Some(at);
                break;
            }
        }
        places.push(begun.map(|at| rest.remove(at)));
    }
    let mut rest = rest.into_iter();
    let mut ordered: Vec<_> = places.into_iter().filter_map(|node| node.or_else(|| rest.next())).collect();
    ordered.extend(rest);
    Ok(ordered)
}

/// Whether a card's first page is zeros, as it is until the card is finished.
pub(super) fn is_unfinished(card: &dyn Medium) -> bool {
    let mut page = Aligned::new(PAGE);
    read_exact(card, &mut page, 0).is_ok() && is_zero(&page)
}

/// Whether an unfinished card was begun for the node of those patches. The journal says how far that got, and the card that it is
/// this one: the slots of one reader cannot be told apart, and another card may be in it by now.
pub(super) fn is_for(card: &Claimed, patches: &Patches, journal: &Journal, base: &Base) -> bool {
    let safe = journal.safe_blocks(card.disk(), Journal::content(&base.digest, patches));
    let read = |buffer: &mut [u8], offset| read_exact(card, buffer, offset).is_ok();
    holds(&read, patches, Blocks { size: base.size }, safe)
}

/// Whether there are sectors of the node's own among the safe blocks, and all of them are on the card. The first block is
/// written last.
fn holds(read: &dyn Fn(&mut [u8], u64) -> bool, patches: &Patches, blocks: Blocks, safe: usize) -> bool {
    let (mut buffer, mut any) = (Aligned::new(PIECE), false);
    for index in (1..safe.min(blocks.count())).filter(|index| patches.touch(*index)) {
        any = true;
        for start in (0..blocks.length(index)).step_by(PIECE) {
            let length = PIECE.min(blocks.length(index) - start);
            let part = buffer.get_mut(..length).unwrap_or_default();
            if !read(part, blocks.offset(index) + start as u64) {
                return false;
            }
            let mut patched = part.to_vec();
            patches.lay_over(index, start, &mut patched);
            if *part != *patched {
                return false;
            }
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flash::content::BLOCK;
    use crate::image::overlay::Write;

    #[test]
    fn a_card_is_known_by_its_node_s_own_sectors() {
        let patches = |byte: u8| {
            let write = |offset| Write { offset, bytes: vec![byte; 1024] };
            Patches::new(&[512, BLOCK as u64 + 512, 2 * BLOCK as u64 - 512].map(write))
        };
        let blocks = Blocks { size: 3 * BLOCK as u64 + 512 };
        // All but the first block, as it is when it was not finished.
        let mut card = vec![0xa5; 3 * BLOCK + 512];
        (1..3).for_each(|index| patches(2).lay_over(index, 0, &mut card[index * BLOCK..(index + 1) * BLOCK]));
        let read = |buffer: &mut [u8], offset| {
            let offset = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&card[offset..offset + buffer.len()]);
            true
        };
        assert!(holds(&read, &patches(2), blocks, 4) && holds(&read, &patches(2), blocks, 3));
        assert!(!holds(&read, &patches(1), blocks, 4), "another node's");
        assert!(
            !holds(&read, &patches(2), blocks, 0) && !holds(&read, &patches(2), blocks, 1),
            "nothing is safe"
        );
        assert!(!holds(&|_, _| false, &patches(2), blocks, 4), "it cannot be read");
    }

    fn ordered(unfinished: &[bool], begun: &[(usize, &str)]) -> String {
        let nodes = ["red00", "red01", "red02", "red03"].map(|name| Hostname::try_from(name).unwrap());
        let is_begun = |place, node: &Hostname| Ok(begun.contains(&(place, node.as_str())));
        let ordered = first(&nodes, unfinished, is_begun).unwrap();
        ordered.iter().map(Hostname::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_card_that_was_begun_comes_first_in_its_reader() {
        assert_eq!(ordered(&[true], &[(0, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[false, true], &[(1, "red03")]), "red00 red03 red01 red02");
        assert_eq!(ordered(&[true, true], &[(0, "red01"), (1, "red00")]), "red01 red00 red02 red03");
        // The slots of one reader have one serial: it is one card's.
        assert_eq!(ordered(&[true, true], &[(0, "red02"), (1, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[false], &[(0, "red02")]), "red00 red01 red02 red03", "another card by now");
        assert_eq!(ordered(&[true], &[]), "red00 red01 red02 red03");
    }
}
