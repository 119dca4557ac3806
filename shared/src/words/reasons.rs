//! Why a picture was not read, or why a person has to look, and what to do about it: in the other languages.

use super::Language;

/// English, and then the columns of [`Language::ALL`] behind it.
type Sentence = (&'static str, [&'static str; 5]);

/// Every sentence that a verdict may bring (the test below sees to it).
#[rustfmt::skip]
const SENTENCES: &[Sentence] = &[
    // A person has to look.
    ("probability between the two thresholds", ["probabilité entre les deux seuils", "probabilidad entre los dos umbrales", "probabilidade entre os dois limiares", "uwezekano uko kati ya viwango viwili", "संभाव्यता दोनों सीमाओं के बीच है"]),
    ("the ensemble is too uncertain", ["les modèles sont trop incertains", "los modelos son demasiado inciertos", "os modelos estão incertos demais", "modeli hazina uhakika wa kutosha", "मॉडल बहुत अनिश्चित हैं"]),
    ("at the border of what the models were trained on", ["à la limite de ce qui a été appris", "en el límite de lo que los modelos aprendieron", "no limite do que os modelos aprenderam", "iko mpakani mwa kile modeli zilichofunzwa", "उस सीमा पर जिस पर मॉडल प्रशिक्षित हुए"]),
    ("the file does not say how the picture hangs", ["orientation de l’image non indiquée", "el archivo no dice cómo está orientada la imagen", "o arquivo não diz como a imagem está orientada", "faili haisemi jinsi picha inavyoelekea", "फ़ाइल नहीं बताती कि चित्र किस दिशा में है"]),
    ("the CT values are not those of a chest", ["ces valeurs ne sont pas celles d’un thorax", "los valores de TC no son los de un tórax", "os valores de TC não são os de um tórax", "thamani za CT si za kifua", "सीटी के मान छाती के नहीं हैं"]),
    ("the file names no view known as frontal", ["aucune incidence de face indiquée", "el archivo no indica una proyección frontal conocida", "nenhuma incidência frontal indicada", "faili haitaji mwelekeo unaojulikana kuwa wa mbele", "फ़ाइल में सामने का कोई ज्ञात दृश्य नहीं बताया गया"]),
    // What the shipped bundle calls positive.
    ("pneumonia as COVID-19 makes it", ["pneumonie du type COVID-19", "neumonía como la de COVID-19", "pneumonia como a da COVID-19", "nimonia kama ya COVID-19", "COVID-19 जैसा निमोनिया"]),
    // Not read.
    ("too few pixels", ["trop peu de pixels", "muy pocos píxeles", "pixels de menos", "pikseli ni chache mno", "पिक्सेल बहुत कम हैं"]),
    ("too blurred", ["trop floue", "demasiado borrosa", "desfocada demais", "ina ukungu mno", "बहुत धुँधला"]),
    ("too dark", ["trop sombre", "demasiado oscura", "escura demais", "giza mno", "बहुत गहरा"]),
    ("too bright", ["trop claire", "demasiado clara", "clara demais", "inang’aa mno", "बहुत चमकीला"]),
    ("too little contrast", ["trop peu de contraste", "muy poco contraste", "contraste de menos", "tofauti ya mwanga ni ndogo mno", "कंट्रास्ट बहुत कम"]),
    ("few grey levels, as in a mask, a drawing or a fax", ["peu de niveaux de gris, comme un masque, un dessin ou un fax", "pocos niveles de gris, como en una máscara, un dibujo o un fax", "poucos níveis de cinza, como numa máscara, num desenho ou num fax", "viwango vichache vya kijivu, kama mchoro au faksi", "धूसर के बहुत कम स्तर, जैसे मास्क, रेखाचित्र या फ़ैक्स में"]),
    ("not the shape of a whole chest image", ["pas la forme d’une image de thorax entière", "no tiene la forma de una imagen completa de tórax", "não tem a forma de uma imagem inteira do tórax", "si umbo la picha nzima ya kifua", "पूरी छाती के चित्र का आकार नहीं"]),
    ("a colour picture, not a radiograph", ["une image en couleur, pas une radiographie", "una imagen en color, no una radiografía", "uma imagem a cores, não uma radiografia", "picha ya rangi, si eksirei", "रंगीन चित्र, रेडियोग्राफ़ नहीं"]),
    ("looks like a negative", ["ressemble à un négatif", "parece un negativo", "parece um negativo", "inaonekana kama negativu", "नेगेटिव जैसा दिखता है"]),
    ("looks turned on its side or upside down", ["semble couchée ou à l’envers", "parece girada o al revés", "parece estar de lado ou de cabeça para baixo", "inaonekana imelala au imepinduliwa", "घूमा हुआ या उल्टा दिखता है"]),
    ("a small picture in a wide frame", ["une petite image dans un large cadre", "una imagen pequeña en un marco ancho", "uma imagem pequena numa moldura larga", "picha ndogo ndani ya fremu pana", "चौड़े फ़्रेम में छोटा चित्र"]),
    ("looks like a film from the side", ["ressemble à un cliché de profil", "parece una radiografía lateral", "parece uma radiografia de perfil", "inaonekana kama picha ya upande", "बगल से ली गई फ़िल्म जैसा दिखता है"]),
    ("looks like the film of a child", ["ressemble au cliché d’un enfant", "parece la radiografía de un niño", "parece a radiografia de uma criança", "inaonekana kama picha ya mtoto", "बच्चे की फ़िल्म जैसा दिखता है"]),
    ("looks like a slice in a soft-tissue window", ["ressemble à une coupe en fenêtre des tissus mous", "parece un corte en ventana de tejidos blandos", "parece um corte em janela de partes moles", "inaonekana kama kipande cha dirisha la tishu laini", "मृदु ऊतक विंडो की स्लाइस जैसा दिखता है"]),
    ("does not look like a chest X-ray or CT slice", ["ne ressemble pas à une radiographie ou une coupe de scanner du thorax", "no parece una radiografía ni un corte de TC de tórax", "não parece uma radiografia nem um corte de TC do tórax", "haionekani kama eksirei ya kifua wala kipande cha CT", "छाती के एक्स-रे या सीटी स्लाइस जैसा नहीं दिखता"]),
    // What to do.
    ("send the original, not a thumbnail", ["envoyez l’original, pas une vignette", "envíe el original, no una miniatura", "envie o original, não uma miniatura", "tuma picha asilia, si kijipicha", "मूल चित्र भेजें, थंबनेल नहीं"]),
    ("take or scan the image again", ["refaites ou renumérisez l’image", "tome o escanee la imagen de nuevo", "faça ou digitalize a imagem de novo", "piga au changanua picha tena", "चित्र फिर से लें या स्कैन करें"]),
    ("take or export it again with normal brightness", ["refaites-la ou exportez-la avec une luminosité normale", "tómela o expórtela de nuevo con brillo normal", "faça ou exporte de novo com brilho normal", "ipige au uitume tena kwa mwangaza wa kawaida", "सामान्य चमक के साथ फिर से लें या भेजें"]),
    ("send the image itself", ["envoyez l’image elle-même", "envíe la imagen misma", "envie a própria imagem", "tuma picha yenyewe", "चित्र ही भेजें"]),
    ("send it uncropped", ["envoyez-la sans recadrage", "envíela sin recortar", "envie sem recortar", "itume bila kukatwa", "बिना काटे भेजें"]),
    ("send it with air dark and bone bright", ["envoyez-la avec l’air sombre et l’os clair", "envíela con el aire oscuro y el hueso claro", "envie com o ar escuro e o osso claro", "itume hewa ikiwa nyeusi na mfupa ukiwa mweupe", "ऐसे भेजें कि हवा गहरी और हड्डी चमकीली हो"]),
    ("send it upright", ["envoyez-la à l’endroit", "envíela en posición vertical", "envie na posição correta", "itume ikiwa wima", "सीधा करके भेजें"]),
    ("send it without the frame, or the original", ["envoyez-la sans le cadre, ou l’original", "envíela sin el marco, o el original", "envie sem a moldura, ou o original", "itume bila fremu, au picha asilia", "बिना फ़्रेम के या मूल चित्र भेजें"]),
    ("send the frontal film", ["envoyez le cliché de face", "envíe la radiografía frontal", "envie a radiografia frontal", "tuma picha ya mbele", "सामने की फ़िल्म भेजें"]),
    ("have a person read it: the models know adults only", ["faites-la lire par une personne : les modèles ne connaissent que les adultes", "que la lea una persona: los modelos solo conocen adultos", "peça a uma pessoa que a leia: os modelos só conhecem adultos", "mtu aisome: modeli zinajua watu wazima tu", "किसी विशेषज्ञ से पढ़वाएँ: मॉडल केवल वयस्कों को जानते हैं"]),
    ("send it in a lung window, or with CT values", ["envoyez-la en fenêtre pulmonaire, ou avec les valeurs du scanner", "envíela en ventana pulmonar o con valores de TC", "envie em janela pulmonar ou com valores de TC", "itume katika dirisha la mapafu, au na thamani za CT", "फेफड़ों की विंडो में या सीटी मानों के साथ भेजें"]),
    ("check that it is the right file", ["vérifiez que c’est le bon fichier", "compruebe que es el archivo correcto", "verifique se é o arquivo certo", "hakikisha ni faili sahihi", "जाँचें कि यह सही फ़ाइल है"]),
    // What was asked for at the panel and not done.
    ("the reading software is not there any more", ["le logiciel n’est plus là", "el programa ya no está", "o programa já não está lá", "programu haipo tena", "सॉफ़्टवेयर अब वहाँ नहीं है"]),
    ("put the stick in again", ["remettez la clé USB", "vuelva a poner la memoria USB", "ponha o pendrive de novo", "weka USB tena", "USB फिर से लगाएँ"]),
    ("have a person look at it", ["faites-la examiner par une personne", "que la examine una persona", "peça a uma pessoa que a examine", "mtu aiangalie", "किसी विशेषज्ञ को दिखाएँ"]),
];

/// A cause or a remedy, by its English form; `None` where there is no other than that.
pub fn reason(language: Language, english: &str) -> Option<&'static str> {
    let (known, others) = SENTENCES.iter().find(|(known, _)| *known == english)?;
    match (language as usize).checked_sub(1) {
        None => Some(known),
        Some(column) => others.get(column).copied(),
    }
}

/// Every cause and remedy, in this language.
pub fn reasons(language: Language) -> impl Iterator<Item = &'static str> {
    SENTENCES.iter().filter_map(move |(english, _)| reason(language, english))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{ReferReason, RejectReason};
    use alloc::{vec, vec::Vec};

    #[test]
    fn every_reason_of_a_verdict_is_there_in_every_language() {
        let reasons =
            ReferReason::ALL.map(ReferReason::reason).into_iter().chain(RejectReason::ALL.map(RejectReason::reason));
        let texts: Vec<_> = reasons.flat_map(|reason| [Some(reason.cause), reason.remedy]).flatten().collect();
        assert!(texts.len() > 30);
        for text in texts {
            for language in Language::ALL {
                let said = reason(language, &text);
                assert!(said.is_some_and(|said| !said.trim().is_empty()), "{language:?}: {text}");
                assert_eq!(said == Some(&*text), language == Language::English, "{language:?}: {text}");
            }
        }
        assert_eq!(reason(Language::French, "something else"), None);
    }

    #[test]
    fn no_sentence_stands_twice() {
        let mut known = vec![];
        for (english, _) in SENTENCES {
            assert!(!known.contains(english), "{english}");
            known.push(*english);
        }
    }
}
