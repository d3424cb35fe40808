//! Sentences that an NLI model tests against an article, in the article's language.

use serde::Deserialize;

use crate::article::SLOT;

/// What a hypothesis is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// The text is about the label, or about the target.
    Topic,
    Favor,
    Against,
    Neutral,
}

/// Of a language: what is asked for a topic, and for favor, against and neutral toward a target.
type Sentences = [&'static str; 4];

const ENGLISH: Sentences = [
    "This text is about {}.",
    "The author of this text is in favor of {}.",
    "The author of this text is against {}.",
    "The author of this text is neutral about {}.",
];

/// Built so that labels can stand in them as they are, without being inflected.
const SENTENCES: [(&str, Sentences); 12] = [
    (
        "ar",
        [
            "يتحدث هذا النص عن {}.",
            "كاتب هذا النص يؤيد {}.",
            "كاتب هذا النص يعارض {}.",
            "كاتب هذا النص محايد تجاه {}.",
        ],
    ),
    (
        "de",
        [
            "In diesem Text geht es um {}.",
            "Der Autor dieses Textes ist für {}.",
            "Der Autor dieses Textes ist gegen {}.",
            "Der Autor dieses Textes ist neutral gegenüber {}.",
        ],
    ),
    ("en", ENGLISH),
    (
        "es",
        [
            "Este texto trata de {}.",
            "El autor de este texto está a favor de {}.",
            "El autor de este texto está en contra de {}.",
            "El autor de este texto es neutral respecto a {}.",
        ],
    ),
    (
        "fa",
        [
            "این متن درباره {} است.",
            "نویسنده این متن موافق {} است.",
            "نویسنده این متن مخالف {} است.",
            "نویسنده این متن نسبت به {} بی‌طرف است.",
        ],
    ),
    (
        "fr",
        [
            "Ce texte parle de {}.",
            "L'auteur de ce texte est pour {}.",
            "L'auteur de ce texte est contre {}.",
            "L'auteur de ce texte est neutre envers {}.",
        ],
    ),
    (
        "he",
        [
            "הטקסט הזה עוסק בנושא {}.",
            "מחבר הטקסט הזה בעד {}.",
            "מחבר הטקסט הזה נגד {}.",
            "מחבר הטקסט הזה ניטרלי כלפי {}.",
        ],
    ),
    (
        "hi",
        [
            "यह पाठ {} के बारे में है।",
            "इस पाठ का लेखक {} का समर्थन करता है।",
            "इस पाठ का लेखक {} का विरोध करता है।",
            "इस पाठ का लेखक {} के प्रति तटस्थ है।",
        ],
    ),
    (
        "ru",
        [
            "Тема этого текста: {}.",
            "Автор этого текста поддерживает: {}.",
            "Автор этого текста против: {}.",
            "Автор этого текста нейтрален по теме: {}.",
        ],
    ),
    (
        "tr",
        [
            "Bu metnin konusu: {}.",
            "Bu metnin yazarı şunu destekliyor: {}.",
            "Bu metnin yazarı şuna karşı: {}.",
            "Bu metnin yazarı şu konuda tarafsız: {}.",
        ],
    ),
    (
        "ur",
        [
            "یہ متن {} کے بارے میں ہے۔",
            "اس متن کا مصنف {} کی حمایت کرتا ہے۔",
            "اس متن کا مصنف {} کی مخالفت کرتا ہے۔",
            "اس متن کا مصنف {} کے بارے میں غیر جانبدار ہے۔",
        ],
    ),
    (
        "zh",
        [
            "这篇文章的主题是{}。",
            "这篇文章的作者支持{}。",
            "这篇文章的作者反对{}。",
            "这篇文章的作者对{}持中立态度。",
        ],
    ),
];

/// The template for `question` in `language` (ISO 639-1); in English where there is none in that language.
#[must_use]
pub(super) fn built_in(language: &str, question: Question) -> &'static str {
    let sentences = SENTENCES
        .iter()
        .find_map(|(code, sentences)| (*code == language).then_some(sentences))
        .unwrap_or(&ENGLISH);
    sentences[question as usize]
}

/// The hypothesis: a template with the label in its place.
#[must_use]
pub fn fill(template: &str, label: &str) -> String {
    template.replacen(SLOT, label.trim(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::article::is_template;

    #[test]
    fn every_sentence_has_one_place_for_the_label() {
        for (language, sentences) in SENTENCES {
            for sentence in sentences {
                assert!(is_template(sentence), "{language}: {sentence}");
            }
        }
        assert_eq!(
            fill(built_in("en", Question::Topic), " {} oil "),
            "This text is about {} oil."
        );
        assert_eq!(built_in("xx", Question::Against), built_in("en", Question::Against));
    }
}
