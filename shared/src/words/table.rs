//! The table: a line for each word, English first.

macro_rules! words {
    ($($word:ident: [$english:literal, $french:literal, $spanish:literal, $portuguese:literal, $swahili:literal, $hindi:literal];)*) => {
        /// A word, or a short sentence. Its documentation is what it is in English.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Word {
            $(#[doc = $english] $word,)*
        }

        impl Word {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$word),*];

            /// In all languages, in the order of [`Language::ALL`](super::Language::ALL).
            pub(super) const fn all(self) -> [&'static str; 6] {
                match self {
                    $(Self::$word => [$english, $french, $spanish, $portuguese, $swahili, $hindi],)*
                }
            }
        }
    };
}

words! {
    // What is said on every page.
    Notice: ["Research use only. Not a medical device.", "Réservé à la recherche. Ce n’est pas un dispositif médical.", "Solo para investigación. No es un dispositivo médico.", "Apenas para pesquisa. Não é um dispositivo médico.", "Kwa utafiti tu. Si kifaa cha matibabu.", "केवल अनुसंधान के लिए। यह चिकित्सा उपकरण नहीं है।"];
    SkipToContent: ["Skip to the content", "Aller au contenu", "Ir al contenido", "Ir para o conteúdo", "Ruka hadi yaliyomo", "मुख्य सामग्री पर जाएँ"];
    Language: ["Language", "Langue", "Idioma", "Idioma", "Lugha", "भाषा"];
    LogOut: ["Log out", "Se déconnecter", "Cerrar sesión", "Sair", "Ondoka", "लॉग आउट"];
    Menu: ["Menu", "Menu", "Menú", "Menu", "Menyu", "मेनू"];

    // Verdicts, and what each means.
    Verdict: ["verdict", "verdict", "veredicto", "veredito", "uamuzi", "निर्णय"];
    Positive: ["positive", "positif", "positivo", "positivo", "chanya", "पॉज़िटिव"];
    Negative: ["negative", "négatif", "negativo", "negativo", "hasi", "नेगेटिव"];
    Refer: ["refer", "à référer", "derivar", "encaminhar", "rufaa", "रेफ़र करें"];
    Rejected: ["rejected", "rejeté", "rechazado", "rejeitado", "imekataliwa", "अस्वीकृत"];
    PositiveMeans: ["The probability is at or above the upper threshold of the bundle.", "La probabilité atteint ou dépasse le seuil supérieur du modèle.", "La probabilidad alcanza o supera el umbral superior del modelo.", "A probabilidade atinge ou ultrapassa o limiar superior do modelo.", "Uwezekano umefikia au kuzidi kiwango cha juu cha modeli.", "संभाव्यता मॉडल की ऊपरी सीमा पर या उससे अधिक है।"];
    NegativeMeans: ["The probability is below the lower threshold of the bundle. Disease is not ruled out.", "La probabilité est inférieure au seuil inférieur du modèle. Une maladie n’est pas exclue.", "La probabilidad está por debajo del umbral inferior del modelo. No se descarta una enfermedad.", "A probabilidade está abaixo do limiar inferior do modelo. Uma doença não está excluída.", "Uwezekano uko chini ya kiwango cha chini cha modeli. Haimaanishi kuwa hakuna ugonjwa.", "संभाव्यता मॉडल की निचली सीमा से कम है। इससे रोग की संभावना समाप्त नहीं होती।"];
    ReferMeans: ["A person has to look at this image.", "Une personne doit examiner cette image.", "Una persona debe examinar esta imagen.", "Uma pessoa deve examinar esta imagem.", "Mtu lazima aiangalie picha hii.", "इस चित्र को किसी विशेषज्ञ को देखना होगा।"];
    RejectedMeans: ["Nothing is said about this image.", "Rien n’est dit de cette image.", "No se dice nada sobre esta imagen.", "Nada é dito sobre esta imagem.", "Hakuna kinachosemwa kuhusu picha hii.", "इस चित्र के बारे में कुछ नहीं कहा गया है।"];

    // Figures.
    Probability: ["probability", "probabilité", "probabilidad", "probabilidade", "uwezekano", "संभाव्यता"];
    Entropy: ["entropy (uncertainty)", "entropie (incertitude)", "entropía (incertidumbre)", "entropia (incerteza)", "entropia (kutokuwa na uhakika)", "एन्ट्रॉपी (अनिश्चितता)"];
    LeftInvolvement: ["involvement, patient’s left lung", "atteinte, poumon gauche du patient", "afectación, pulmón izquierdo del paciente", "acometimento, pulmão esquerdo do paciente", "eneo lililoathirika, pafu la kushoto la mgonjwa", "प्रभावित भाग, रोगी का बायाँ फेफड़ा"];
    RightInvolvement: ["involvement, patient’s right lung", "atteinte, poumon droit du patient", "afectación, pulmón derecho del paciente", "acometimento, pulmão direito do paciente", "eneo lililoathirika, pafu la kulia la mgonjwa", "प्रभावित भाग, रोगी का दायाँ फेफड़ा"];
    Quality: ["image quality, 0 to 1", "qualité de l’image, 0 à 1", "calidad de la imagen, 0 a 1", "qualidade da imagem, 0 a 1", "ubora wa picha, 0 hadi 1", "चित्र की गुणवत्ता, 0 से 1"];
    Bundle: ["reading software", "logiciel de lecture", "programa de lectura", "programa de leitura", "programu ya kusoma", "पढ़ने का सॉफ़्टवेयर"];
    BundleHash: ["SHA-256 of the reading software", "SHA-256 du logiciel de lecture", "SHA-256 del programa de lectura", "SHA-256 do programa de leitura", "SHA-256 ya programu ya kusoma", "पढ़ने के सॉफ़्टवेयर का SHA-256"];
    Reason: ["reason", "raison", "motivo", "motivo", "sababu", "कारण"];
    Remedy: ["what to do", "que faire", "qué hacer", "o que fazer", "la kufanya", "क्या करें"];
    Notes: ["notes", "remarques", "observaciones", "observações", "maelezo", "टिप्पणियाँ"];
    Unknown: ["unknown", "inconnu", "desconocido", "desconhecido", "haijulikani", "अज्ञात"];
    None: ["none", "aucun", "ninguno", "nenhum", "hakuna", "कोई नहीं"];

    // The list.
    Studies: ["Studies", "Examens", "Estudios", "Exames", "Vipimo", "जाँचें"];
    Study: ["Study", "Examen", "Estudio", "Exame", "Kipimo", "जाँच"];
    Received: ["received (UTC)", "reçu (UTC)", "recibido (UTC)", "recebido (UTC)", "ilipokelewa (UTC)", "प्राप्त (UTC)"];
    Finished: ["finished (UTC)", "terminé (UTC)", "terminado (UTC)", "concluído (UTC)", "ilikamilika (UTC)", "पूर्ण (UTC)"];
    Patient: ["patient", "patient", "paciente", "paciente", "mgonjwa", "रोगी"];
    PatientId: ["patient ID", "identifiant du patient", "identificación del paciente", "identificação do paciente", "namba ya mgonjwa", "रोगी की पहचान संख्या"];
    BirthDate: ["date of birth", "date de naissance", "fecha de nacimiento", "data de nascimento", "tarehe ya kuzaliwa", "जन्म तिथि"];
    File: ["file", "fichier", "archivo", "arquivo", "faili", "फ़ाइल"];
    Kind: ["kind of image", "type d’image", "tipo de imagen", "tipo de imagem", "aina ya picha", "चित्र का प्रकार"];
    Xray: ["X-ray", "radiographie", "radiografía", "radiografia", "eksirei", "एक्स-रे"];
    Ct: ["CT", "scanner (CT)", "TC", "TC", "CT skani", "सीटी"];
    XrayShort: ["X-ray", "radio", "Rx", "RX", "eksirei", "एक्स-रे"];
    CtShort: ["CT", "scanner", "TC", "TC", "CT", "सीटी"];
    Images: ["images", "images", "imágenes", "imagens", "picha", "चित्र"];
    Round: ["round", "lot", "ronda", "rodada", "awamu", "दौर"];
    State: ["state", "état", "estado", "estado", "hali", "स्थिति"];
    StateOpen: ["more images may come", "d’autres images peuvent arriver", "pueden llegar más imágenes", "podem chegar mais imagens", "picha zaidi zinaweza kuja", "और चित्र आ सकते हैं"];
    StateClosed: ["waits to be read", "en attente de lecture", "en espera de lectura", "aguarda leitura", "inasubiri kusomwa", "पढ़े जाने की प्रतीक्षा में"];
    StateTaken: ["is being read", "lecture en cours", "leyéndose", "em leitura", "inasomwa", "पढ़ा जा रहा है"];
    StateFinished: ["read", "lu", "leído", "lido", "imesomwa", "पढ़ा गया"];
    StateFailed: ["set aside", "mis de côté", "apartado", "posto de lado", "imewekwa kando", "अलग रखा गया"];
    All: ["all", "tous", "todos", "todos", "zote", "सभी"];
    Show: ["Show", "Afficher", "Mostrar", "Mostrar", "Onyesha", "दिखाएँ"];
    Older: ["Older", "Plus anciens", "Anteriores", "Mais antigos", "Za zamani zaidi", "पुराने"];
    Newest: ["Newest", "Plus récents", "Más recientes", "Mais recentes", "Mpya zaidi", "सबसे नए"];
    NoStudies: ["There is no such study.", "Aucun examen de ce type.", "No hay ningún estudio así.", "Não há nenhum exame assim.", "Hakuna kipimo cha aina hiyo.", "ऐसी कोई जाँच नहीं है।"];
    OlderMayBeThere: ["Not all older studies were searched.", "Les examens plus anciens n’ont pas tous été parcourus.", "No se han revisado todos los estudios anteriores.", "Nem todos os exames mais antigos foram percorridos.", "Si vipimo vyote vya zamani vilivyotafutwa.", "सभी पुरानी जाँचें नहीं खोजी गईं।"];

    // One study.
    Picture: ["Picture", "Image", "Imagen", "Imagem", "Picha", "चित्र"];
    PictureOf: ["The picture that was read, upright", "L’image lue, redressée", "La imagen leída, en posición vertical", "A imagem lida, na posição correta", "Picha iliyosomwa, ikiwa wima", "पढ़ा गया चित्र, सीधा रखा हुआ"];
    Infection: ["infection marked", "infection marquée", "infección marcada", "infecção marcada", "maambukizi yaliyowekewa alama", "चिह्नित संक्रमण"];
    Lungs: ["outline of the lungs", "contour des poumons", "contorno de los pulmones", "contorno dos pulmões", "mstari wa kuzunguka mapafu", "फेफड़ों की रूपरेखा"];
    Heat: ["heat map: where the model looked", "carte de chaleur : où le modèle a regardé", "mapa de calor: dónde miró el modelo", "mapa de calor: onde o modelo olhou", "ramani ya joto: mahali modeli ilipoangalia", "हीट मैप: मॉडल ने कहाँ देखा"];
    OverlaysMeaning: ["Colours show what the model marked, not what is there.", "Les couleurs montrent ce que le modèle a marqué, non ce qui est présent.", "Los colores muestran lo que marcó el modelo, no lo que hay.", "As cores mostram o que o modelo marcou, não o que existe.", "Rangi zinaonyesha kile modeli ilichoweka alama, si kile kilichopo.", "रंग वह दिखाते हैं जो मॉडल ने चिह्नित किया, न कि वह जो वास्तव में है।"];
    FullSize: ["Open the picture in full size", "Ouvrir l’image en taille réelle", "Abrir la imagen a tamaño completo", "Abrir a imagem em tamanho real", "Fungua picha kwa ukubwa kamili", "चित्र पूरे आकार में खोलें"];
    Panel: ["What the screen of the device shows", "Ce que montre l’écran de l’appareil", "Lo que muestra la pantalla del aparato", "O que mostra a tela do aparelho", "Kile ambacho skrini ya kifaa inaonyesha", "उपकरण की स्क्रीन जो दिखाती है"];
    NoPicture: ["No picture is kept of this study.", "Aucune image de cet examen n’est conservée.", "No se conserva ninguna imagen de este estudio.", "Nenhuma imagem deste exame é guardada.", "Hakuna picha ya kipimo hiki iliyohifadhiwa.", "इस जाँच का कोई चित्र नहीं रखा गया है।"];
    Result: ["Result", "Résultat", "Resultado", "Resultado", "Matokeo", "परिणाम"];
    Downloads: ["Downloads", "Téléchargements", "Descargas", "Downloads", "Vipakuliwa", "डाउनलोड"];
    PrintablePage: ["Page to print", "Page à imprimer", "Página para imprimir", "Página para imprimir", "Ukurasa wa kuchapisha", "छापने योग्य पृष्ठ"];
    JsonRecord: ["Record as JSON", "Enregistrement en JSON", "Registro en JSON", "Registro em JSON", "Rekodi kwa JSON", "JSON में अभिलेख"];
    JsonResult: ["Result as JSON", "Résultat en JSON", "Resultado en JSON", "Resultado em JSON", "Matokeo kwa JSON", "JSON में परिणाम"];
    Segmentation: ["DICOM segmentation", "Segmentation DICOM", "Segmentación DICOM", "Segmentação DICOM", "Ugawaji wa DICOM", "DICOM विभाजन"];
    Report: ["DICOM structured report", "Compte rendu structuré DICOM", "Informe estructurado DICOM", "Relatório estruturado DICOM", "Ripoti ya DICOM yenye muundo", "DICOM संरचित रिपोर्ट"];
    Capture: ["DICOM secondary capture", "Capture secondaire DICOM", "Captura secundaria DICOM", "Captura secundária DICOM", "Picha ya pili ya DICOM", "DICOM द्वितीयक चित्र"];

    // What readers say.
    Feedback: ["What readers say", "Avis des lecteurs", "Opinión de los lectores", "Opinião dos leitores", "Maoni ya wasomaji", "पाठकों की राय"];
    YourOpinion: ["Do you agree with the verdict?", "Êtes-vous d’accord avec le verdict ?", "¿Está de acuerdo con el veredicto?", "Concorda com o veredito?", "Je, unakubaliana na uamuzi?", "क्या आप निर्णय से सहमत हैं?"];
    Agree: ["agree", "d’accord", "de acuerdo", "concordo", "nakubali", "सहमत"];
    Disagree: ["disagree", "pas d’accord", "en desacuerdo", "discordo", "sikubali", "असहमत"];
    NoteOnly: ["a note only", "une note seulement", "solo una nota", "apenas uma nota", "maelezo tu", "केवल टिप्पणी"];
    Note: ["Note", "Note", "Nota", "Nota", "Maelezo", "टिप्पणी"];
    NoteHint: ["At most 2000 characters. Write no name of a patient.", "2000 caractères au plus. N’écrivez aucun nom de patient.", "Como máximo 2000 caracteres. No escriba nombres de pacientes.", "No máximo 2000 caracteres. Não escreva nomes de pacientes.", "Herufi 2000 zisizozidi. Usiandike jina la mgonjwa.", "अधिकतम 2000 अक्षर। रोगी का नाम न लिखें।"];
    Save: ["Save", "Enregistrer", "Guardar", "Guardar", "Hifadhi", "सहेजें"];
    Saved: ["Saved.", "Enregistré.", "Guardado.", "Guardado.", "Imehifadhiwa.", "सहेजा गया।"];
    Agreement: ["Agreement", "Concordance", "Concordancia", "Concordância", "Makubaliano", "सहमति"];
    AgreementMeaning: ["The last opinion of each reader on each study. Readers are not the truth, and they saw the verdict.", "Le dernier avis de chaque lecteur sur chaque examen. Les lecteurs ne sont pas la vérité, et ils ont vu le verdict.", "La última opinión de cada lector sobre cada estudio. Los lectores no son la verdad y han visto el veredicto.", "A última opinião de cada leitor sobre cada exame. Os leitores não são a verdade, e viram o veredito.", "Maoni ya mwisho ya kila msomaji kuhusu kila kipimo. Wasomaji si ukweli, na waliona uamuzi.", "हर जाँच पर हर पाठक की अंतिम राय। पाठक स्वयं सत्य नहीं हैं, और उन्होंने निर्णय देखा था।"];
    Reader: ["reader", "lecteur", "lector", "leitor", "msomaji", "पाठक"];
    Technician: ["technician", "technicien", "técnico", "técnico", "fundi", "तकनीशियन"];
    Time: ["time (UTC)", "heure (UTC)", "hora (UTC)", "hora (UTC)", "wakati (UTC)", "समय (UTC)"];
    Opinion: ["opinion", "avis", "opinión", "opinião", "maoni", "राय"];
    NothingYet: ["Nothing yet.", "Rien pour l’instant.", "Nada todavía.", "Nada ainda.", "Bado hakuna.", "अभी कुछ नहीं।"];

    // The status.
    Status: ["Status", "État", "Estado", "Estado", "Hali", "स्थिति"];
    Health: ["health", "santé de l’appareil", "salud del aparato", "saúde do aparelho", "hali ya kifaa", "उपकरण की स्थिति"];
    HealthOk: ["ok", "bon", "bien", "bem", "nzuri", "ठीक"];
    HealthDegraded: ["works, but somebody should look", "fonctionne, mais à vérifier", "funciona, pero conviene revisarlo", "funciona, mas convém verificar", "kinafanya kazi, lakini mtu aangalie", "काम कर रहा है, पर किसी को देखना चाहिए"];
    HealthDown: ["down", "en panne", "fuera de servicio", "fora de serviço", "hakifanyi kazi", "बंद"];
    Trouble: ["what is the matter", "ce qui ne va pas", "qué ocurre", "o que se passa", "tatizo", "समस्या"];
    ImagesWaiting: ["images waiting", "images en attente", "imágenes en espera", "imagens em espera", "picha zinazosubiri", "प्रतीक्षारत चित्र"];
    StudiesWaiting: ["studies that wait", "examens en attente", "estudios en espera", "exames em espera", "vipimo vinavyosubiri", "प्रतीक्षारत जाँचें"];
    StudiesTaken: ["studies being read", "examens en lecture", "estudios en lectura", "exames em leitura", "vipimo vinavyosomwa", "पढ़ी जा रही जाँचें"];
    StudiesFinished: ["studies read", "examens lus", "estudios leídos", "exames lidos", "vipimo vilivyosomwa", "पढ़ी गई जाँचें"];
    StudiesFailed: ["studies set aside", "examens mis de côté", "estudios apartados", "exames postos de lado", "vipimo vilivyowekwa kando", "अलग रखी गई जाँचें"];
    Deliveries: ["Deliveries", "Envois", "Envíos", "Envios", "Utumaji", "प्रेषण"];
    Destination: ["destination", "destination", "destino", "destino", "mahali pa kutuma", "गंतव्य"];
    Attempts: ["attempts", "tentatives", "intentos", "tentativas", "majaribio", "प्रयास"];
    LastError: ["last error", "dernière erreur", "último error", "último erro", "kosa la mwisho", "अंतिम त्रुटि"];
    DeliveryWaiting: ["waits", "en attente", "en espera", "em espera", "inasubiri", "प्रतीक्षा में"];
    DeliverySending: ["is being sent", "envoi en cours", "enviándose", "a ser enviado", "inatumwa", "भेजा जा रहा है"];
    DeliveryDone: ["delivered", "livré", "entregado", "entregue", "imefikishwa", "पहुँचाया गया"];
    DeliveryGivenUp: ["given up", "abandonné", "abandonado", "abandonado", "imeachwa", "छोड़ दिया गया"];
    DiskFree: ["free on the disk", "libre sur le disque", "libre en el disco", "livre no disco", "nafasi iliyobaki kwenye diski", "डिस्क पर खाली"];
    DiskReserve: ["must stay free", "doit rester libre", "debe quedar libre", "deve ficar livre", "lazima ibaki wazi", "खाली रहना चाहिए"];
    Program: ["program", "programme", "programa", "programa", "programu", "प्रोग्राम"];

    // Bundles.
    Bundles: ["Reading software", "Logiciel de lecture", "Programa de lectura", "Programa de leitura", "Programu ya kusoma", "पढ़ने का सॉफ़्टवेयर"];
    Software: ["software", "logiciel", "programa", "programa", "programu", "सॉफ़्टवेयर"];
    RunsNow: ["in use", "en service", "en uso", "em uso", "inatumika", "अभी चालू"];
    OnTrial: ["being tried out, studies read", "à l’essai, examens lus", "a prueba, estudios leídos", "em teste, exames lidos", "majaribio, vipimo vilivyosomwa", "परखा जा रहा है, पढ़ी गई जाँचें"];
    GoesBackTo: ["version before", "version précédente", "versión anterior", "versão anterior", "toleo la awali", "पिछला संस्करण"];
    TakenBack: ["taken back", "retiré", "retirado", "retirado", "imerudishwa", "वापस लिया गया"];
    OfProfile: ["what the profile names", "celui du profil", "el del perfil", "o do perfil", "iliyotajwa kwenye wasifu", "प्रोफ़ाइल में दिया गया"];
    OnTheStick: ["New, on the stick", "Nouveau, sur la clé USB", "Nuevo, en la memoria USB", "Novo, no pendrive", "Mpya, kwenye USB", "नया, USB पर"];
    Replaces: ["replaces", "remplace", "sustituye a", "substitui", "itachukua nafasi ya", "इसकी जगह लेगा"];
    NoBundleThere: ["No new reading software is on the stick.", "Aucun nouveau logiciel de lecture sur la clé USB.", "No hay ningún programa de lectura nuevo en la memoria USB.", "Não há programa de leitura novo no pendrive.", "Hakuna programu mpya ya kusoma kwenye USB.", "USB पर पढ़ने का कोई नया सॉफ़्टवेयर नहीं है।"];
    Install: ["Install", "Installer", "Instalar", "Instalar", "Sakinisha", "इंस्टॉल करें"];
    TakeBack: ["Go back", "Revenir", "Volver atrás", "Voltar atrás", "Rudi nyuma", "पीछे जाएँ"];
    Why: ["why", "pourquoi", "por qué", "porquê", "kwa nini", "क्यों"];
    BundleInstalled: ["Installed, tested and in use. If it fails now, the version before comes back by itself.", "Installé, testé et en service. S’il échoue, la version précédente revient d’elle-même.", "Instalado, probado y en uso. Si falla ahora, la versión anterior vuelve sola.", "Instalado, testado e em uso. Se falhar agora, a versão anterior volta sozinha.", "Imesakinishwa, imejaribiwa na inatumika. Ikishindwa sasa, toleo la awali hurudi lenyewe.", "इंस्टॉल हुआ, जाँचा गया और चालू है। यदि यह अब विफल हो, तो पिछला संस्करण अपने आप लौट आता है।"];
    BundleTakenBack: ["The version before is in use again.", "La version précédente est de nouveau en service.", "La versión anterior está otra vez en uso.", "A versão anterior está de novo em uso.", "Toleo la awali linatumika tena.", "पिछला संस्करण फिर चालू है।"];

    // Coming in.
    LogIn: ["Log in", "Se connecter", "Iniciar sesión", "Entrar", "Ingia", "लॉग इन"];
    Name: ["Name", "Nom", "Nombre", "Nome", "Jina", "नाम"];
    Password: ["Password", "Mot de passe", "Contraseña", "Senha", "Nenosiri", "पासवर्ड"];
    LoginFailed: ["Name or password is wrong.", "Nom ou mot de passe incorrect.", "El nombre o la contraseña no son correctos.", "O nome ou a senha está incorreto.", "Jina au nenosiri si sahihi.", "नाम या पासवर्ड ग़लत है।"];
    TooManyAttempts: ["Too many attempts. Wait a minute, then try again.", "Trop de tentatives. Attendez une minute, puis réessayez.", "Demasiados intentos. Espere un minuto y vuelva a intentarlo.", "Demasiadas tentativas. Espere um minuto e tente de novo.", "Majaribio ni mengi mno. Subiri dakika moja, kisha ujaribu tena.", "बहुत अधिक प्रयास। एक मिनट रुकें, फिर कोशिश करें।"];

    // What goes wrong.
    NotFound: ["There is no such page.", "Cette page n’existe pas.", "Esta página no existe.", "Esta página não existe.", "Hakuna ukurasa kama huo.", "ऐसा कोई पृष्ठ नहीं है।"];
    NotAllowed: ["Your account may not do that.", "Votre compte n’y est pas autorisé.", "Su cuenta no tiene permiso para eso.", "A sua conta não tem permissão para isso.", "Akaunti yako hairuhusiwi kufanya hivyo.", "आपके खाते को इसकी अनुमति नहीं है।"];
    BadRequest: ["The request was not understood. Go back, load the page again and try once more.", "La demande n’a pas été comprise. Revenez en arrière, rechargez la page et réessayez.", "No se entendió la solicitud. Vuelva atrás, recargue la página e inténtelo de nuevo.", "O pedido não foi compreendido. Volte atrás, recarregue a página e tente de novo.", "Ombi halikueleweka. Rudi nyuma, pakia ukurasa upya kisha ujaribu tena.", "अनुरोध समझा नहीं गया। वापस जाएँ, पृष्ठ फिर से लोड करें और दोबारा कोशिश करें।"];
    TryLater: ["The device cannot answer at the moment. Try again in a minute; if it stays so, tell the technician.", "L’appareil ne peut pas répondre pour le moment. Réessayez dans une minute ; si cela persiste, prévenez le technicien.", "El aparato no puede responder en este momento. Inténtelo de nuevo en un minuto; si continúa, avise al técnico.", "O aparelho não pode responder neste momento. Tente de novo dentro de um minuto; se persistir, avise o técnico.", "Kifaa hakiwezi kujibu kwa sasa. Jaribu tena baada ya dakika moja; ikiendelea hivyo, mwambie fundi.", "उपकरण अभी उत्तर नहीं दे सकता। एक मिनट बाद फिर कोशिश करें; यदि ऐसा ही रहे तो तकनीशियन को बताएँ।"];

    // The panel.
    Ready: ["ready", "prêt", "listo", "pronto", "tayari", "तैयार"];
    Reading: ["reading", "lecture", "leyendo", "lendo", "inasoma", "पढ़ रहा है"];
    Problem: ["problem", "problème", "problema", "problema", "tatizo", "समस्या"];
    Starting: ["starting", "démarrage", "iniciando", "iniciando", "inaanza", "शुरू हो रहा है"];
    Stopping: ["stopping", "arrêt", "parando", "parando", "inazima", "बंद हो रहा है"];
    Off: ["off", "éteint", "apagado", "desligado", "imezimwa", "बंद"];
    SendAnImage: ["Send a chest image to this device.", "Envoyez une image du thorax à cet appareil.", "Envíe una imagen de tórax a este aparato.", "Envie uma imagem do tórax a este aparelho.", "Tuma picha ya kifua kwenye kifaa hiki.", "छाती का चित्र इस उपकरण को भेजें।"];
    Reads: ["reads", "peut lire", "lee", "lê", "inasoma", "पढ़ता है"];
    BeingRead: ["An image is being read. The result appears here by itself.", "Une image est en cours de lecture. Le résultat s’affichera ici.", "Se está leyendo una imagen. El resultado aparecerá aquí.", "Uma imagem está sendo lida. O resultado aparecerá aqui.", "Picha inasomwa. Matokeo yataonekana hapa yenyewe.", "चित्र पढ़ा जा रहा है। परिणाम यहीं दिखेगा।"];
    SelfTest: ["The device tests itself. Please wait.", "L’appareil se teste. Veuillez patienter.", "El aparato se está probando. Espere, por favor.", "O aparelho está se testando. Aguarde, por favor.", "Kifaa kinajipima. Tafadhali subiri.", "उपकरण अपनी जाँच कर रहा है। कृपया प्रतीक्षा करें।"];
    FinishesWork: ["Do not cut the power yet. What is being read is finished first.", "Ne coupez pas encore le courant. La lecture en cours se termine.", "No corte la corriente todavía. Antes termina la lectura en curso.", "Ainda não desligue a energia. Antes termina a leitura em curso.", "Usikate umeme bado. Usomaji unaoendelea unamalizika kwanza.", "अभी बिजली बंद न करें। पहले चल रहा पढ़ना पूरा होगा।"];
    MayBeSwitchedOff: ["The power can be cut now.", "Vous pouvez couper le courant.", "Ya puede cortar la corriente.", "Já pode desligar a energia.", "Umeme unaweza kukatwa sasa.", "अब बिजली बंद की जा सकती है।"];
    TooHot: ["The device is too hot and rests until it has cooled.", "L’appareil est trop chaud et attend de refroidir.", "El aparato está demasiado caliente y espera a enfriarse.", "O aparelho está quente demais e espera esfriar.", "Kifaa kina joto sana, kinasubiri kipoe.", "उपकरण बहुत गर्म है, ठंडा होने तक रुका है।"];
    DoCool: ["Keep the vents free, and the device out of the sun.", "Dégagez les aérations, et mettez l’appareil à l’ombre.", "Despeje las rejillas y ponga el aparato a la sombra.", "Libere as aberturas de ar e ponha o aparelho à sombra.", "Acha matundu ya hewa wazi, na uweke kifaa kivulini.", "हवा के छेद खुले रखें, और उपकरण को धूप से हटाएँ।"];
    DoTellTechnician: ["Tell the technician.", "Prévenez le technicien.", "Avise al técnico.", "Avise o técnico.", "Mjulishe fundi.", "तकनीशियन को बताएँ।"];
    DiskIsFull: ["Too little room on the disk: no image can be taken.", "Trop peu de place sur le disque : aucune image n’est acceptée.", "Falta espacio en el disco: no se aceptan imágenes.", "Falta espaço no disco: nenhuma imagem é aceita.", "Nafasi ya diski haitoshi: picha haiwezi kupokelewa.", "डिस्क पर जगह बहुत कम है: कोई चित्र नहीं लिया जा सकता।"];
    DoPositive: ["Have a clinician look at this image now.", "Faites examiner cette image par un clinicien maintenant.", "Que un médico examine esta imagen ahora.", "Peça a um médico que examine esta imagem agora.", "Mwombe mganga aangalie picha hii sasa.", "यह चित्र अभी चिकित्सक को दिखाएँ।"];
    DoNegative: ["Disease is not ruled out. Other diseases are not looked for. Have a clinician decide.", "Maladie non exclue, autres maladies non recherchées. Un clinicien doit décider.", "No se descarta la enfermedad. Otras no se buscan. Que decida un médico.", "A doença não está excluída. Outras não são procuradas. Um médico decide.", "Haimaanishi hakuna ugonjwa. Magonjwa mengine hayatafutwi. Mganga aamue.", "रोग की संभावना समाप्त नहीं। अन्य रोग नहीं खोजे जाते। निर्णय चिकित्सक से लें।"];
    DoRefer: ["Have a clinician read this image.", "Faites lire cette image par un clinicien.", "Que un médico lea esta imagen.", "Um médico deve ler esta imagem.", "Mwombe mganga aisome picha hii.", "यह चित्र चिकित्सक से पढ़वाएँ।"];
    CannotDecide: ["The device cannot decide:", "Décision impossible :", "Sin decisión:", "Sem decisão:", "Kifaa hakiwezi kuamua:", "निर्णय संभव नहीं:"];
    WhyBetween: ["it is between negative and positive", "entre négatif et positif", "entre negativo y positivo", "entre negativo e positivo", "kati ya hasi na chanya", "नेगेटिव और पॉज़िटिव के बीच"];
    WhyNotSure: ["it is not sure enough", "pas assez sûr", "sin certeza suficiente", "sem certeza suficiente", "hakina uhakika wa kutosha", "पर्याप्त निश्चित नहीं"];
    WhyUnlike: ["unlike the images that it learnt from", "différente des images apprises", "distinta de las imágenes aprendidas", "diferente das imagens aprendidas", "haifanani na picha ilizojifunza", "सीखे गए चित्रों से भिन्न"];
    NotRead: ["The image was not read.", "L’image n’a pas été lue.", "La imagen no se leyó.", "A imagem não foi lida.", "Picha haikusomwa.", "चित्र पढ़ा नहीं गया।"];
    Involved: ["lung area marked", "poumons marqués", "pulmón marcado", "pulmão marcado", "eneo la mapafu lenye alama", "फेफड़ों का चिह्नित भाग"];
    ModelProbability: ["probability (model)", "probabilité (modèle)", "probabilidad (modelo)", "probabilidade (modelo)", "uwezekano (modeli)", "संभाव्यता (मॉडल)"];
    Sure: ["sure", "sûr", "cierto", "certo", "hakika", "निश्चित"];
    NotSure: ["not sure", "pas sûr", "incierto", "incerto", "si hakika", "अनिश्चित"];
    Less: ["less", "moins", "menos", "menos", "kidogo", "कम"];
    More: ["more", "plus", "más", "mais", "zaidi", "अधिक"];
    HeatMeaning: ["Where the model looked, not where disease is.", "Où le modèle a regardé, pas où est la maladie.", "Dónde miró el modelo, no dónde está la enfermedad.", "Onde o modelo olhou, não onde está a doença.", "Mahali modeli ilipoangalia, si palipo na ugonjwa.", "मॉडल ने कहाँ देखा; यह रोग की जगह नहीं है।"];
    RightMark: ["R", "D", "D", "D", "R", "दायाँ"];
    LeftMark: ["L", "G", "I", "E", "L", "बायाँ"];
    ThresholdsSet: ["thresholds changed here", "seuils modifiés ici", "umbrales cambiados aquí", "limiares alterados aqui", "viwango vimebadilishwa hapa", "सीमाएँ यहाँ बदली गईं"];
    RightShort: ["right", "droit", "der.", "dir.", "kulia", "दायाँ"];
    LeftShort: ["left", "gauche", "izq.", "esq.", "kushoto", "बायाँ"];
    MoreKey: ["heat map", "zones vues", "zonas vistas", "áreas vistas", "ilipoangalia", "हीट मैप"];
    ResultKey: ["result", "résultat", "resultado", "resultado", "matokeo", "परिणाम"];
    OthersKey: ["others", "autres", "otros", "outros", "nyingine", "अन्य"];
    OkKey: ["OK", "OK", "OK", "OK", "sawa", "ठीक"];
    InfectionShort: ["marked", "marqué", "marcado", "marcado", "alama", "चिह्नित"];
    LungShort: ["lung", "poumon", "pulmón", "pulmão", "pafu", "फेफड़ा"];
    Results: ["results", "résultats", "resultados", "resultados", "matokeo", "परिणाम"];
    Settings: ["settings", "réglages", "ajustes", "ajustes", "mipangilio", "सेटिंग"];
    Brightness: ["brightness", "luminosité", "brillo", "brilho", "mwangaza", "चमक"];
    Threshold: ["threshold", "seuil", "umbral", "limiar", "kiwango", "सीमा"];
    OfBundle: ["standard", "standard", "estándar", "padrão", "kawaida", "मानक"];
    ThresholdMeaning: ["Negative below the first, positive from the second on, between them refer.", "Négatif sous le premier, positif dès le second, entre les deux à référer.", "Negativo por debajo del primero, positivo desde el segundo, entre ambos derivar.", "Negativo abaixo do primeiro, positivo a partir do segundo, entre ambos encaminhar.", "Hasi chini ya cha kwanza, chanya kuanzia cha pili, katikati rufaa.", "पहली से नीचे नेगेटिव, दूसरी से पॉज़िटिव, बीच में रेफ़र।"];
    RefersMore: ["refers more", "réfère plus", "deriva más", "encaminha mais", "rufaa zaidi", "अधिक रेफ़र"];
    RefersMost: ["refers most", "réfère le plus", "deriva al máximo", "encaminha o máximo", "rufaa nyingi zaidi", "सबसे अधिक रेफ़र"];
    SwitchOff: ["switch off", "éteindre", "apagar", "desligar", "zima", "बंद करें"];
    Update: ["update", "mise à jour", "actualización", "atualização", "sasisho", "अपडेट"];
    ChooseKey: ["choose", "choisir", "elegir", "escolher", "chagua", "चुनें"];
    ChangesVerdicts: ["This changes what is called positive and negative.", "Cela change ce qui est dit positif ou négatif.", "Esto cambia lo que se llama positivo o negativo.", "Isto muda o que se chama positivo ou negativo.", "Hii hubadilisha kinachoitwa chanya au hasi.", "इससे बदलता है कि क्या पॉज़िटिव या नेगेटिव कहलाए।"];
    SwitchOffAsk: ["Switch the device off? While it is off, it takes no images.", "Éteindre l’appareil ? Éteint, il n’accepte aucune image.", "¿Apagar el aparato? Apagado no acepta imágenes.", "Desligar o aparelho? Desligado, não aceita imagens.", "Kuzima kifaa? Kikiwa kimezimwa hakipokei picha.", "उपकरण बंद करें? बंद रहते वह कोई चित्र नहीं लेता।"];
    FileUnusable: ["This file cannot be used.", "Ce fichier est inutilisable.", "Este archivo no sirve.", "Este arquivo não serve.", "Faili hii haiwezi kutumika.", "यह फ़ाइल काम नहीं आ सकती।"];
    DoSendAgain: ["Send the image again. If it comes back, show this page to the technician.", "Renvoyez l’image. Si cela se répète, montrez cette page au technicien.", "Envíe la imagen de nuevo. Si se repite, muestre esta página al técnico.", "Envie a imagem de novo. Se repetir, mostre esta página ao técnico.", "Tuma picha tena. Ikirudia, mwonyeshe fundi ukurasa huu.", "चित्र फिर से भेजें। फिर ऐसा हो तो यह पृष्ठ तकनीशियन को दिखाएँ।"];
    CouldNotDo: ["This could not be done.", "Cela n’a pas pu être fait.", "No se pudo hacer.", "Não foi possível fazer.", "Haikuwezekana kufanya hivyo.", "यह नहीं हो सका।"];
    HasFailed: ["Something in the device does not work.", "Quelque chose ne marche pas dans l’appareil.", "Algo no funciona en el aparato.", "Algo não funciona no aparelho.", "Kuna kitu hakifanyi kazi kwenye kifaa.", "उपकरण में कुछ काम नहीं कर रहा।"];
    ResultsListed: ["study, image, patient, time (UTC)", "examen, image, patient, heure (UTC)", "estudio, imagen, paciente, hora (UTC)", "exame, imagem, paciente, hora (UTC)", "kipimo, picha, mgonjwa, saa (UTC)", "जाँच, चित्र, रोगी, समय (UTC)"];
    Working: ["working", "en cours", "en curso", "em curso", "inafanyika", "जारी है"];
    PleaseWait: ["Please wait.", "Veuillez patienter.", "Espere, por favor.", "Aguarde, por favor.", "Tafadhali subiri.", "कृपया प्रतीक्षा करें।"];
    Yes: ["yes", "oui", "sí", "sim", "ndiyo", "हाँ"];
    No: ["no", "non", "no", "não", "hapana", "नहीं"];
    Done: ["done", "fait", "hecho", "feito", "imefanyika", "हो गया"];
    NotDone: ["not done", "pas fait", "no hecho", "não feito", "haikufanyika", "नहीं हुआ"];
    OpenKey: ["open", "ouvrir", "abrir", "abrir", "fungua", "खोलें"];
    BackKey: ["back", "retour", "volver", "voltar", "rudi", "वापस"];
    HoldKey: ["hold", "tenir", "largo", "segurar", "shikilia", "दबाए रखें"];
    Clock: ["clock (UTC)", "heure (UTC)", "hora (UTC)", "hora (UTC)", "saa (UTC)", "समय (UTC)"];
    Temperature: ["temperature", "température", "temperatura", "temperatura", "joto", "तापमान"];
    Network: ["network", "réseau", "red", "rede", "mtandao", "नेटवर्क"];
    NoNetwork: ["not connected", "non connecté", "sin conexión", "sem conexão", "haijaunganishwa", "जुड़ा नहीं"];
    NoResults: ["There are no results yet.", "Il n’y a pas encore de résultat.", "Todavía no hay resultados.", "Ainda não há resultados.", "Bado hakuna matokeo.", "अभी कोई परिणाम नहीं है।"];
}
