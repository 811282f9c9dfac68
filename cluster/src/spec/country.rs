//! Countries of the radio's rules.

use super::Refusal;

/// Every country that the kernel has rules for: `regulatory.db` of Debian's package wireless-regdb 2026.05.30. Any other is
/// ignored by the kernel, without a word. `00` stands for the rules that hold everywhere.
const KNOWN: &str = "\
00 AD AE AF AI AL AM AN AR AS AT AU AW AZ BA BB BD BE BF BG BH BL BM BN BO BR BS BT BW BY BZ CA CF CH CI CL CN CO CR CU CX CY \
CZ DE DK DM DO DZ EC EE EG ES ET FI FM FO FR GB GD GE GF GH GI GL GP GR GT GU GY HK HN HR HT HU ID IE IL IM IN IR IS IT JM JO \
JP KE KH KN KP KR KW KY KZ LB LC LI LK LS LT LU LV MA MC MD ME MF MH MK MN MO MP MQ MR MT MU MV MW MX MY NA NG NI NL NO NP NZ \
OM PA PE PF PG PH PK PL PM PR PT PW PY QA RE RO RS RU RW SA SE SG SI SK SM SN SR SV SX SY TC TD TG TH TN TR TT TW TZ UA UG US \
UY UZ VA VC VE VI VN VU WF WS YE YT ZA ZW";

/// The other countries of ISO 3166-1 (tzdata's `iso3166.tab` of 2026).
const WITHOUT_RULES: &str = "\
AG AO AQ AX BI BJ BQ BV CC CD CG CK CM CV CW DJ EH ER FJ FK GA GG GM GN GQ GS GW HM IO IQ JE KG KI KM LA LR LY MG ML MM MS MZ \
NC NE NF NR NU PN PS SB SC SD SH SJ SL SO SS ST SZ TF TJ TK TL TM TO TV UM VG ZM";

/// What people write for a country that has another code, mostly its language or its code in the European Union.
const MEANT: [(&str, &str); 6] =
    [("UK", "GB"), ("EN", "GB"), ("EL", "GR"), ("JA", "JP"), ("KO", "KR"), ("CS", "CZ")];

/// A country of ISO 3166-1 that the kernel knows, or `00`.
pub(super) fn country(text: &str) -> Result<String, Refusal> {
    const ADVICE: &str = "write two capital letters, like DE, GB or US";
    let has = |list: &str, code: &str| list.split(' ').any(|known| known == code);
    if has(KNOWN, text) {
        return Ok(text.to_owned());
    }
    let code = text.to_ascii_uppercase();
    if has(WITHOUT_RULES, &code) {
        let advice = "write 00, the rules that hold in every country";
        return Err(Refusal::new(format!("the kernel has no Wi-Fi rules for {code}"), advice));
    }
    let meant = MEANT.iter().find(|(written, _)| *written == code).map(|(_, meant)| *meant);
    let meant = meant.or_else(|| has(KNOWN, &code).then_some(code.as_str()));
    let advice = meant.map_or_else(|| ADVICE.to_owned(), |meant| format!("write {meant}"));
    Err(Refusal::new(format!("`{text}` is not a country code"), advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(text: &str) -> String {
        country(text).unwrap_err().advice
    }

    #[test]
    fn takes_what_the_kernel_knows() {
        for code in ["DE", "GB", "US", "JP", "00"] {
            assert_eq!(country(code).as_deref(), Ok(code));
        }
        for code in ["XX", "EU", "ZZ", "99", "", "D", "DEU", "D1", "Ö", "Germany", "DE GB"] {
            assert_eq!(advice(code), "write two capital letters, like DE, GB or US", "{code}");
        }
    }

    #[test]
    fn names_the_code_that_was_meant() {
        for (written, meant) in
            [("UK", "GB"), ("uk", "GB"), ("gb", "GB"), ("De", "DE"), ("EN", "GB"), ("ja", "JP")]
        {
            assert_eq!(advice(written), format!("write {meant}"));
        }
        assert_eq!(country("IQ").unwrap_err().message, "the kernel has no Wi-Fi rules for IQ");
        assert_eq!(advice("JE"), "write 00, the rules that hold in every country");
    }

    #[test]
    fn every_country_stands_in_one_list() {
        let lists = [KNOWN, WITHOUT_RULES].map(|list| list.split(' ').collect::<Vec<_>>());
        assert_eq!(lists.each_ref().map(Vec::len), [182, 69]);
        assert!(lists.iter().flatten().all(|code| code.len() == 2));
        assert!(!lists[0].iter().any(|code| lists[1].contains(code)));
        assert!(MEANT.iter().all(|(written, meant)| lists[0].contains(meant) && !lists[0].contains(written)));
    }
}
