//! `thorax-edge serve`: images come in over the network and from folders, go through everything, and stay.
//!
//! DCMTK's programs are the carts here, so tests that send something ask `thorax-wanted` for them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use thorax_tests::{Finished, edge, film, folder, phantoms, run, shipped, signal, slice, succeed, text};

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// An appliance with a folder of its own.
pub(crate) struct Appliance {
    folder: TempDir,
    child: Child,
    dicom: String,
    status: String,
}

impl Appliance {
    /// Starts one that reads what `CART` sends as soon as it has released, and what lies in its folder `incoming`.
    fn start() -> Self {
        Self::with(2, "192.0.2.1:104")
    }

    /// One that sets a study aside that brought it down `most_attempts` times, and delivers to an `archive`.
    fn with(most_attempts: u32, archive: &str) -> Self {
        Self::with_tables(most_attempts, archive, "")
    }

    /// With further tables in its profile.
    fn with_tables(most_attempts: u32, archive: &str, tables: &str) -> Self {
        let bundles = format!("bundles = [{:?}, {:?}]", shipped("xray"), shipped("ct"));
        Self::with_bundles(most_attempts, archive, &bundles, tables)
    }

    /// One that reads by this bundle alone, which a key of `trust` has signed.
    pub(crate) fn of(bundle: &Path, trust: &Path) -> Self {
        Self::with_bundles(2, "192.0.2.1:104", &format!("bundles = [{bundle:?}]\ntrust = {trust:?}"), "")
    }

    fn with_bundles(most_attempts: u32, archive: &str, bundles: &str, tables: &str) -> Self {
        let folder = folder();
        fs::create_dir(folder.path().join("incoming")).unwrap();
        let profile = format!(
            "[site]\nname = \"test\"\nserial_number = \"box-7\"\n\
             [intake]\naddress = \"127.0.0.1:0\"\nclose_at_release = true\n\
             [[intake.peers]]\nae_title = \"CART\"\naddresses = [\"127.0.0.1\"]\n\
             [[folders]]\nname = \"incoming\"\npath = \"incoming\"\nsettle_seconds = 1\n\
             [journal]\nquiet_seconds = 1\nreserve_bytes = 16777216\nmost_attempts = {most_attempts}\n\
             [screening]\nworkers = 2\n{bundles}\n\
             [status]\naddress = \"127.0.0.1:0\"\n\
             [delivery]\nfirst_pause_seconds = 1\nlongest_pause_seconds = 2\n[[delivery.destinations]]\nname = \"pacs\"\n\
             to.dicom = {{ address = \"{archive}\", ae_title = \"PACS\", connect_seconds = 2 }}\n{tables}"
        );
        fs::write(folder.path().join("profile.toml"), profile).unwrap();
        let (child, dicom, status) = begin(folder.path());
        Self { folder, child, dicom, status }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Kills it, and starts it again on the same data.
    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.start_again();
    }

    fn start_again(&mut self) {
        (self.child, self.dicom, self.status) = begin(self.folder.path());
    }

    /// Tells it to stop, and gives the exit code.
    fn stop(&mut self) -> i32 {
        signal(&self.child, libc::SIGTERM);
        self.child.wait().unwrap().code().unwrap()
    }

    fn cart(&self, program: &str, title: &str, options: &[&str], files: &[PathBuf]) -> Command {
        let mut command = Command::new(thorax_wanted::dcmtk(program).unwrap());
        let (host, port) = self.dicom.split_once(':').unwrap();
        command.args(["-aet", title, "-aec", "THORAX"]).args(options).args([host, port]).args(files);
        command
    }

    /// Sends files, which has to succeed.
    fn send(&self, files: &[PathBuf]) {
        let output = self.cart("storescu", "CART", &["-v"], files).output().unwrap();
        assert!(output.status.success() && acknowledged(&output) == files.len(), "{output:?}\n{}", self.log());
    }

    fn journal(&self, arguments: &[&str]) -> Finished {
        run(edge().arg("journal").args(arguments).arg("--data").arg(self.path("data")))
    }

    /// All studies, once there are `count` of which none waits.
    pub(crate) fn studies(&self, count: usize) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.journal(&["export", "--format", "json"]);
            assert_eq!(told.code, 0, "{}\n{}", told.stderr, self.log());
            let studies: Vec<Value> = serde_json::from_str(&told.stdout).unwrap();
            let over = |study: &Value| ["finished", "failed"].contains(&text(study, "state"));
            if studies.len() == count && studies.iter().all(over) {
                return studies;
            }
            assert!(Instant::now() < until && studies.len() <= count, "{studies:#?}\n{}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A file of a study's result.
    pub(crate) fn result(&self, study: &Value, label: &str) -> Vec<u8> {
        let files = study["result"]["files"].as_array().unwrap();
        let file = files.iter().find(|file| file["label"] == label).unwrap_or_else(|| panic!("no {label}: {study:#}"));
        fs::read(self.path("data/journal/files").join(text(file, "sha256"))).unwrap()
    }

    fn outcome(&self, study: &Value) -> Value {
        serde_json::from_slice(&self.result(study, "outcome.json")).unwrap()
    }

    /// Status and body of a page.
    fn page(&self, path: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.status).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A figure of `/metrics`.
    fn metric(&self, name: &str) -> f64 {
        let (code, text) = self.page("/metrics");
        assert_eq!(code, 200);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the appliance of a folder, and gives its addresses once it is at work.
fn begin(folder: &Path) -> (Child, String, String) {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = serve(folder).stderr(log).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let running = fs::read(folder.join("data/running.json")).unwrap_or_default();
        let running: Value = serde_json::from_slice(&running).unwrap_or_default();
        // One who was killed has left its own.
        if running["process"] == child.id() {
            return (child, text(&running, "dicom").into(), text(&running, "status").into());
        }
        let log = || fs::read_to_string(folder.join("log")).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", log());
        assert!(Instant::now() < until, "{}", log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn serve(folder: &Path) -> Command {
    let mut command = edge();
    command.args(["serve", "--board"]).arg(folder.join("profile.toml")).arg("--data").arg(folder.join("data"));
    command.stdout(Stdio::null());
    command
}

/// How many images a cart may delete now.
fn acknowledged(output: &Output) -> usize {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    text.matches("Received Store Response (Success)").count()
}

/// The phantom films of a folder as DICOM. Each body is there in both polarities, which are a study.
fn films(folder: &Path) -> Vec<PathBuf> {
    let files = thorax_tests::files(folder);
    files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "dcm")).collect()
}

/// A CT series of the slices at these heights, each the same phantom slice.
fn series(folder: &Path, heights_mm: &[i32]) -> Vec<PathBuf> {
    let made = |height: &i32| {
        let file = folder.join(format!("slice_{height}.dcm"));
        fs::copy(slice(".dcm"), &file).unwrap();
        let mut dcmodify = Command::new(thorax_wanted::dcmtk("dcmodify").unwrap());
        dcmodify.args(["-nb", "-gin", "-i", &format!("ImagePositionPatient=-150\\-150\\{height}")]).arg(&file);
        succeed(&mut dcmodify);
        file
    };
    heights_mm.iter().map(made).collect()
}

/// One enhanced CT object whose frames lie at these heights, each the same phantom slice.
fn enhanced(folder: &Path, heights_mm: &[i32]) -> PathBuf {
    let (file, pixels) = (folder.join("enhanced.dcm"), folder.join("pixels"));
    fs::copy(slice(".dcm"), &file).unwrap();
    let stored: Vec<u8> = crate::made::stored(&file).iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(&pixels, stored.repeat(heights_mm.len())).unwrap();
    let mut dcmodify = Command::new(thorax_wanted::dcmtk("dcmodify").unwrap());
    dcmodify.args(["-nb", "-gin", "-m", "SOPClassUID=1.2.840.10008.5.1.4.1.1.2.1", "-e", "ImagePositionPatient"]);
    dcmodify.args(["-i", &format!("NumberOfFrames={}", heights_mm.len()), "-mf"]);
    dcmodify.arg(format!("PixelData={}", pixels.display()));
    for (frame, height) in heights_mm.iter().enumerate() {
        dcmodify.args(["-i", &format!("(5200,9230)[{frame}].(0020,9113)[0].(0020,0032)=-150\\-150\\{height}")]);
    }
    succeed(dcmodify.arg(&file));
    file
}

/// The objects of all studies by SOP Instance UID, with how often each is there.
fn objects(studies: &[Value]) -> BTreeMap<String, usize> {
    let mut objects = BTreeMap::new();
    for object in studies.iter().flat_map(|study| study["objects"].as_array().unwrap()) {
        *objects.entry(text(object, "sop_instance_uid").to_owned()).or_default() += 1;
    }
    objects
}

/// Studies but for how it stands with their deliveries, which goes on while one looks.
fn undelivered(mut studies: Vec<Value>) -> Vec<Value> {
    for study in &mut studies {
        study["deliveries"] = study["deliveries"].as_array().unwrap().len().into();
    }
    studies
}

/// The panel's picture, and the hash of its pixels as `edge/screen/tests/screens.sha256` has it.
fn panel(device: &Appliance) -> (image::RgbImage, String) {
    let picture = image::open(device.path("panel.png")).unwrap().into_rgb8();
    let hash = Sha256::digest(picture.as_raw()).iter().map(|byte| format!("{byte:02x}")).collect();
    (picture, hash)
}

/// The README's first command, but for its ports and folder: on a machine without a panel the picture goes into a file.
#[test]
fn a_rehearsal_shows_the_whole_box_without_a_panel() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("board")).unwrap();
    let profile = format!(
        "[board]\nname = \"A PC\"\ncores = 1\nmemory_budget_mebibytes = 2048\n[intake]\naddress = \"127.0.0.1:0\"\n\
         accept_any_peer = true\n[journal]\nreserve_bytes = 16777216\n[status]\naddress = \"127.0.0.1:0\"\n\
         [screening]\nbundles = [{:?}, {:?}]\n",
        shipped("xray"),
        shipped("ct")
    );
    fs::write(at("board/profile.toml"), profile).unwrap();
    let log = File::create(at("log")).unwrap();
    let mut serve = edge();
    serve.args(["serve", "--demo", "--board"]).arg(at("board")).arg("--data").arg(at("data"));
    let mut child = serve.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let panel = at("data/demo/panel.png");
    let until = Instant::now() + PATIENCE;
    let mut wait_for = |done: &dyn Fn() -> bool| {
        while !done() {
            let goes_on = Instant::now() < until && child.try_wait().unwrap().is_none();
            assert!(goes_on, "{}", fs::read_to_string(at("log")).unwrap());
            thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for(&|| panel.exists());
    let first = fs::read(&panel).unwrap();
    let read = || run(edge().args(["journal", "list", "--data"]).arg(at("data/demo"))).stdout.contains("finished");
    wait_for(&read);
    wait_for(&|| fs::read(&panel).unwrap() != first);
    let picture = image::open(&panel).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (800, 480));
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(fs::read_to_string(at("log")).unwrap().contains("no panel in the profile"));
}

#[test]
fn the_panel_says_what_is_the_matter_shows_a_result_by_itself_and_is_the_last_to_go() {
    let mut device = Appliance::with_tables(
        2,
        "192.0.2.1:104",
        "[panel.png]\nfile = \"panel.png\"\ndrawn = [320, 240]\n[buttons]\nkeyboard = \"no such keyboard\"\n",
    );
    let looked_at = include_str!("../../edge/screen/tests/screens.sha256");
    let is_kept = |hash: &str, name: &str| looked_at.lines().any(|line| line == format!("{hash}  {name}"));
    // Without its keys the panel is not opened, and films are read all the same.
    fs::copy(film(".png"), device.path("incoming/film.png")).unwrap();
    device.studies(1);
    assert!(device.log().contains("no such keyboard") && !device.path("panel.png").exists(), "{}", device.log());
    assert_eq!(device.stop(), 0);
    let profile = fs::read_to_string(device.path("profile.toml")).unwrap();
    let profile = profile.replace("[buttons]\nkeyboard = \"no such keyboard\"\n", "");
    let profile = profile.replace("name = \"test\"", "name = \"District hospital North\"\nlanguage = \"fr\"");
    fs::write(device.path("profile.toml"), profile).unwrap();
    device.start_again();
    let until = Instant::now() + PATIENCE;
    let mut seen = vec![];
    let mut changed = |device: &Appliance| loop {
        let at = fs::read(device.path("panel.png")).unwrap_or_default();
        if !at.is_empty() && !seen.contains(&at) {
            seen.push(at);
            return panel(device).0;
        }
        assert!(Instant::now() < until, "{}", device.log());
        thread::sleep(Duration::from_millis(20));
    };
    let colours = |picture: &image::RgbImage| {
        picture.pixels().map(|pixel| pixel.0).collect::<std::collections::BTreeSet<[u8; 3]>>().len()
    };
    let idle = changed(&device);
    assert!(colours(&idle) < 200, "words and no picture");
    // The same film again would be no new study.
    fs::copy(slice(".png"), device.path("incoming/slice.png")).unwrap();
    device.studies(2);
    // A slice has more greys than all letters together.
    let greys = |picture: &image::RgbImage| {
        picture.pixels().filter(|pixel| pixel.0.iter().all(|channel| (40..160).contains(channel))).count()
    };
    while greys(&changed(&device)) < 2000 + greys(&idle) {}
    assert_eq!(device.stop(), 0);
    let (_, last) = panel(&device);
    assert!(is_kept(&last, "320x240-fr-off"), "{}", device.log());
}

#[test]
fn results_go_to_the_archive_as_soon_as_it_is_there() {
    if thorax_wanted::dcmtk("storescp").is_none() {
        return;
    }
    let archive = folder();
    // A port that is free now, and will be as soon as the archive is started.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut device = Appliance::with(2, &format!("127.0.0.1:{port}"));
    let films = films(&phantoms().join("xray"));
    device.send(&films[..2]);
    let told = device.studies(1);
    let outcome = device.outcome(&told[0]);
    let made = |reading: &Value| {
        reading["results"].as_array().unwrap().iter().filter(|name| name.as_str().unwrap().ends_with(".dcm")).count()
    };
    let objects: usize = outcome["readings"].as_array().unwrap().iter().map(made).sum();
    assert!(objects >= 4, "{outcome:#}");

    let mut storescp = Command::new(thorax_wanted::dcmtk("storescp").unwrap());
    storescp.args(["-aet", "PACS", "-od"]).arg(archive.path()).arg(port.to_string());
    let mut storescp = storescp.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let state = loop {
        let studies = device.studies(1);
        let state = text(&studies[0]["deliveries"][0], "state").to_owned();
        if state == "delivered" || Instant::now() > until {
            break state;
        }
        thread::sleep(Duration::from_millis(200));
    };
    let files = fs::read_dir(archive.path()).unwrap().count();
    storescp.kill().unwrap();
    storescp.wait().unwrap();
    assert_eq!((state.as_str(), files), ("delivered", objects), "{}", device.log());
    assert_eq!(device.metric("thorax_deliveries{state=\"delivered\"}"), 1.0);
    assert_eq!(device.stop(), 0, "{}", device.log());
}

#[test]
fn what_arrives_is_read_once_and_its_result_is_kept() {
    if thorax_wanted::dcmtk("storescu").is_none() {
        return;
    }
    // Two studies of two films.
    let films = films(&phantoms().join("xray"));
    assert_eq!(films.len(), 4);
    let mut device = Appliance::start();
    assert!(device.cart("echoscu", "CART", &[], &[]).status().unwrap().success());
    let stranger = device.cart("storescu", "STRANGER", &[], &films).output().unwrap();
    assert!(!stranger.status.success() && acknowledged(&stranger) == 0, "{stranger:?}");

    thread::scope(|scope| films.chunks(2).for_each(|films| drop(scope.spawn(|| device.send(films)))));
    device.send(&films[..1]);
    // The slice at 15 mm is missing.
    device.send(&series(device.folder.path(), &[0, 5, 10, 20]));
    fs::copy(film(".png"), device.path("incoming/DOE JANE.png")).unwrap();
    fs::write(device.path("incoming/broken.png"), b"\x89PNG\r\n\x1a\nand no more").unwrap();
    fs::write(device.path("incoming/letter.pdf"), b"%PDF-1.7").unwrap();

    // So are the series and each of the two pictures.
    let studies = device.studies(5);
    assert!(studies.iter().all(|study| study["state"] == "finished"), "{studies:#?}");
    let of =
        |class: &'static str| studies.iter().filter(move |study| text(&study["objects"][0], "sop_class_uid") == class);
    let mut segmented = 0;
    for study in of("1.2.840.10008.5.1.4.1.1.1") {
        let outcome = device.outcome(study);
        assert_eq!(text(&outcome, "verdict"), text(&study["result"], "verdict"));
        let [first, second] = &outcome["readings"].as_array().unwrap()[..] else { panic!("{outcome:#}") };
        for (reading, object, number) in [(first, &study["objects"][0], ""), (second, &study["objects"][1], "-2")] {
            assert_eq!((text(reading, "modality"), &reading["files"]), ("xray", &Value::Null));
            assert_eq!(reading["images"][0]["sop_instance_uid"], object["sop_instance_uid"]);
            assert!(device.result(study, &format!("panel{number}.png")).starts_with(b"\x89PNG"));
            for kind in ["sr", "sc"] {
                assert_eq!(device.result(study, &format!("{kind}{number}.dcm"))[128..132], *b"DICM", "{kind}");
            }
            // What was rejected has no masks.
            let results = reading["results"].as_array().unwrap();
            let has_masks = results.contains(&Value::from(format!("seg{number}.dcm")));
            assert_eq!(has_masks, text(reading, "verdict") != "rejected", "{outcome:#}");
            segmented += usize::from(has_masks);
        }
        let deliveries = study["deliveries"].as_array().unwrap();
        assert_eq!((deliveries.len(), text(&deliveries[0], "destination")), (1, "pacs"));
    }
    assert!(segmented > 0);

    let ct: Vec<&Value> = of("1.2.840.10008.5.1.4.1.1.2").collect();
    let outcome = device.outcome(ct[0]);
    assert_eq!((ct.len(), ct[0]["objects"].as_array().unwrap().len()), (1, 4));
    assert_eq!(
        (&outcome["readings"][0]["files"], &outcome["readings"][1]),
        (&Value::from(4), &Value::Null),
        "{outcome:#}"
    );
    assert!(outcome["readings"][0]["notes"][0].as_str().unwrap().contains("missing"), "{outcome:#}");

    let pictures: Vec<&Value> = studies.iter().filter(|study| text(study, "key").starts_with("picture:")).collect();
    assert_eq!(pictures.len(), 2);
    let broken = pictures.iter().find(|study| study["objects"][0]["file"] == "broken.png").unwrap();
    assert_eq!(text(&broken["result"], "verdict"), "rejected");
    assert!(
        !text(&broken["result"], "cause").is_empty() && !text(&broken["result"], "remedy").is_empty(),
        "{broken:#}"
    );
    assert!(
        pictures.iter().all(|study| study["deliveries"].as_array().unwrap().is_empty()),
        "nothing that a PACS takes"
    );
    assert!(
        device.path("incoming/taken/DOE JANE.png").exists() && device.path("incoming/refused/letter.pdf.txt").exists()
    );
    assert!(!device.log().contains("JANE"), "{}", device.log());

    assert_eq!(objects(&studies).values().filter(|count| **count != 1).count(), 1, "two pictures have no UID");
    assert_eq!(device.metric("thorax_images_accepted_total"), (films.len() + 6) as f64);
    assert_eq!(device.metric("thorax_images_duplicate_total"), 1.0);
    assert_eq!(device.metric("thorax_associations_rejected_total"), 1.0);
    assert_eq!(device.metric("thorax_studies{state=\"finished\"}"), studies.len() as f64);

    assert_eq!(device.stop(), 0, "{}", device.log());
    assert!(!device.path("data/running.json").exists());
    // The same studies, asked of the folder, and after another start: nothing is read twice.
    assert_eq!(undelivered(device.studies(studies.len())), undelivered(studies.clone()));
    device.start_again();
    device.send(&films);
    assert_eq!(undelivered(device.studies(studies.len())), undelivered(studies.clone()));
    assert_eq!(device.metric("thorax_images_duplicate_total"), films.len() as f64);
    assert_eq!(device.stop(), 0, "{}", device.log());
}

#[test]
fn a_segmentation_of_an_enhanced_object_names_its_frames() {
    let Some(dcmdump) = thorax_wanted::dcmtk("dcmdump") else { return };
    let made = folder();
    let mut device = Appliance::start();
    // Stored from the middle, down, and up.
    device.send(&[enhanced(made.path(), &[0, -5, 5])]);
    let studies = device.studies(1);
    let outcome = device.outcome(&studies[0]);
    assert_eq!(outcome["readings"][0]["slices"], 3, "{outcome:#}");
    let results = outcome["readings"][0]["results"].as_array().unwrap();
    let label = results.iter().map(|name| name.as_str().unwrap()).find(|name| name.contains("seg")).unwrap();
    let file = made.path().join("seg.dcm");
    fs::write(&file, device.result(&studies[0], label)).unwrap();
    let told =
        succeed(Command::new(dcmdump).args(["+P", "ReferencedFrameNumber", "+P", "ImagePositionPatient"]).arg(&file));
    // Each frame of the segmentation lies where the frame lies that it names.
    let values: Vec<String> = told
        .stdout
        .lines()
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.trim().to_owned()))
        .collect();
    let places = [("1", "0"), ("2", "-5"), ("3", "5")].map(|(frame, z)| (frame.to_owned(), format!("-150\\-150\\{z}")));
    // First all numbers, then all places.
    let (numbers, found) = values.split_at(values.len() / 2);
    let named: Vec<(String, String)> = numbers.iter().cloned().zip(found.iter().cloned()).collect();
    assert!(named.len() >= 3 && named.iter().all(|pair| places.contains(pair)), "{told:?}");
    assert!(places.iter().all(|place| named.contains(place)), "{told:?}");
    // The image, the segmentation and the panel, without names; twice, which writes nothing anew.
    let (stick, number) = (device.path("stick").display().to_string(), studies[0]["study"].to_string());
    for told in ["3 files written", "0 files written"] {
        let copied = device.journal(&["deidentify", &stick, "--study", &number]);
        assert!(copied.code == 1 && copied.stdout.contains(told) && copied.stdout.contains("sr.dcm"), "{copied:?}");
    }
    assert_eq!(device.stop(), 0, "{}", device.log());
}

#[test]
fn the_pages_say_how_it_is_and_whoever_is_slow_keeps_nobody_out() {
    let mut device = Appliance::start();
    let (code, health) = device.page("/health");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((code, text(&health, "status")), (200, "ok"), "{health}");
    assert_eq!((&health["images_waiting"], &health["research_use_only"]), (&Value::from(0), &Value::Bool(true)));
    assert_eq!(device.metric("thorax_journal_open"), 1.0);
    assert_eq!(device.page("/").0, 404);

    // As many connections as there are places, of which none ever asks for anything, are cut off after some seconds.
    let slow: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(&device.status).ok()).collect();
    let until = Instant::now() + PATIENCE;
    let answered = || -> std::io::Result<bool> {
        let mut connection = TcpStream::connect(&device.status)?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    while !answered().unwrap_or(false) {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(200));
    }
    drop(slow);
    assert_eq!(device.stop(), 0, "{}", device.log());
}

#[test]
fn the_journal_is_asked_and_copied_while_the_appliance_is_at_work() {
    let mut device = Appliance::start();
    fs::copy(film(".png"), device.path("incoming/film.png")).unwrap();
    let studies = device.studies(1);
    let number = studies[0]["study"].to_string();

    let list = device.journal(&["list"]);
    assert!(list.stdout.contains("finished") && list.stdout.lines().count() == 2, "{}", list.stdout);
    let row: Value = serde_json::from_str(&device.journal(&["list", "--json"]).stdout).unwrap();
    assert_eq!(undelivered(vec![row]), undelivered(studies.clone()));
    let shown = serde_json::from_str(&device.journal(&["show", &number, "--json"]).stdout).unwrap();
    assert_eq!(undelivered(vec![shown]), undelivered(studies.clone()));
    let show = device.journal(&["show", &number]);
    assert!(show.stdout.contains("outcome.json") && show.stdout.contains("panel.png"), "{}", show.stdout);
    let unknown = device.journal(&["show", "99"]);
    assert!(unknown.code == 3 && unknown.stderr.contains("there is no study 99"), "{}", unknown.stderr);
    assert!(device.journal(&["export"]).stdout.lines().count() == 2);
    assert!(device.journal(&["verify"]).stdout.contains(" 0 problems"));

    let printed = device.journal(&["print", &number, "--language", "pt"]);
    assert!(printed.stdout.starts_with("<!DOCTYPE html>") && printed.stdout.contains("lang=\"pt\""), "{printed:?}");
    // A picture that is no DICOM object has no names to take out that could be told.
    let stick = device.path("stick").display().to_string();
    let without_names = device.journal(&["deidentify", &stick, "--study", &number]);
    assert!(without_names.code == 1 && without_names.stdout.contains("0 files written"), "{without_names:?}");

    let (copy, anew) = (device.path("copy"), device.path("anew"));
    succeed(edge().args(["journal", "backup"]).arg(&copy).arg("--data").arg(device.path("data")));
    let again = run(edge().args(["journal", "backup"]).arg(&copy).arg("--data").arg(device.path("data")));
    assert!(again.code == 3 && again.stderr.contains("is not empty"), "{}", again.stderr);
    succeed(edge().args(["journal", "restore"]).arg(&copy).arg("--data").arg(&anew));
    let restored = succeed(edge().args(["journal", "export", "--format", "json", "--data"]).arg(&anew));
    let restored: Vec<Value> = serde_json::from_str(&restored.stdout).unwrap();
    assert_eq!(undelivered(restored), undelivered(studies));
    assert!(succeed(edge().args(["journal", "verify", "--data"]).arg(&anew)).stdout.contains(" 0 problems"));

    // A second appliance on the same data is refused, and does not disturb the first.
    let second = run(&mut serve(device.folder.path()));
    assert!(second.code == 3 && second.stderr.contains("at work in this folder"), "{}", second.stderr);
    assert_eq!(device.page("/health").0, 200);
    assert_eq!(device.stop(), 0);
    let nowhere = run(edge().args(["journal", "list", "--data"]).arg(device.path("nowhere")));
    assert!(nowhere.code == 3 && nowhere.stderr.contains("no journal") && !device.path("nowhere").exists());
}

#[test]
fn a_kill_at_any_moment_loses_and_doubles_nothing() {
    if thorax_wanted::dcmtk("storescu").is_none() {
        return;
    }
    let made = folder();
    let size = ["--count", "12", "--seed", "3", "--modality", "xray", "--size", "256", "--formats", "dicom"];
    succeed(edge().arg("phantom").arg(made.path()).args(size));
    // One of each study.
    let mut films = films(made.path());
    films.retain(|film| !film.display().to_string().contains("monochrome1"));
    assert_eq!(films.len(), 12);
    // A study may be in hand at both kills, and is not to blame.
    let mut device = Appliance::with(100, "192.0.2.1:104");
    let mut acknowledged_by_now = 0;
    for (files, images) in [(&films[..6], 3), (&films[6..], 2)] {
        let mut cart = device.cart("storescu", "CART", &["-v"], files);
        let cart = cart.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // In the midst of sending, and of reading what came before.
        let until = Instant::now() + PATIENCE;
        while device.metric("thorax_images_accepted_total") < f64::from(images) {
            assert!(Instant::now() < until);
        }
        device.child.kill().unwrap();
        device.child.wait().unwrap();
        acknowledged_by_now += acknowledged(&cart.wait_with_output().unwrap());
        device.start_again();
        let told = device.journal(&["export", "--format", "json"]);
        let studies: Vec<Value> = serde_json::from_str(&told.stdout).unwrap();
        assert!(objects(&studies).len() >= acknowledged_by_now && acknowledged_by_now > 0, "{studies:#?}");
    }
    for files in films.chunks(6) {
        device.send(files);
    }
    let studies = device.studies(films.len());
    assert!(studies.iter().all(|study| study["state"] == "finished" && study["round"] == 1), "{studies:#?}");
    assert_eq!(objects(&studies).into_values().collect::<Vec<_>>(), vec![1; films.len()]);
    assert!(device.journal(&["verify"]).stdout.contains(" 0 problems"));
    assert_eq!(device.stop(), 0, "{}", device.log());
}

#[test]
fn what_brings_the_device_down_twice_is_set_aside_and_told() {
    let mut device = Appliance::start();
    fs::copy(slice(".nii.gz"), device.path("incoming/volume.nii.gz")).unwrap();
    for _ in 0..2 {
        let until = Instant::now() + PATIENCE;
        while !device.journal(&["list"]).stdout.contains("taken") {
            assert!(Instant::now() < until, "{}\n{}", device.journal(&["list"]).stdout, device.log());
        }
        device.kill_and_start();
    }
    let studies = device.studies(1);
    assert_eq!((text(&studies[0], "state"), &studies[0]["result"]), ("failed", &Value::Null));
    assert!(text(&studies[0], "cause").contains("went down while it was read"), "{studies:#?}");
    assert!(device.log().contains("set aside"), "{}", device.log());
    let health: Value = serde_json::from_str(&device.page("/health").1).unwrap();
    assert_eq!(health["studies_failed"], 1);
    assert_eq!(device.stop(), 0);
}

#[test]
fn what_is_in_hand_when_it_is_told_to_stop_is_finished_or_waits() {
    let mut device = Appliance::start();
    fs::copy(slice(".nii.gz"), device.path("incoming/volume.nii.gz")).unwrap();
    let until = Instant::now() + PATIENCE;
    while !device.journal(&["list"]).stdout.contains("taken") {
        assert!(Instant::now() < until, "{}", device.log());
    }
    assert_eq!(device.stop(), 0, "{}", device.log());
    // It had time enough.
    assert_eq!(text(&device.studies(1)[0], "state"), "finished");
}

#[test]
fn a_profile_that_cannot_work_is_refused_by_file_and_key() {
    let folder = folder();
    let nowhere = run(&mut serve(folder.path()));
    assert!(nowhere.code == 3 && nowhere.stderr.contains("profile.toml: cannot be read"), "{}", nowhere.stderr);
    fs::write(
        folder.path().join("profile.toml"),
        "[intake]\naccept_any_peer = true\n[status]\naddress = \"0.0.0.0:1\"",
    )
    .unwrap();
    let refused = run(&mut serve(folder.path()));
    let said = ["profile.toml, status.address", "no loopback address", "boards/README.md"];
    assert!(refused.code == 3 && said.iter().all(|word| refused.stderr.contains(word)), "{}", refused.stderr);
    assert!(!folder.path().join("data").exists());
}
