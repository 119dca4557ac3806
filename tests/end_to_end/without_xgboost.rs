//! `thorax-train classify` where XGBoost is not installed: the other classifiers run, and the report says what to install.

use std::fs;

use thorax_tests::{folder, names, refused, succeed, train};

use crate::explain::classified;

#[test]
fn without_xgboost_the_others_run_and_the_report_says_what_to_install() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    classified(folder.path());
    let classify = |out: &str| {
        let mut command = train();
        command.args(["classify", "--runs", "2", "--features"]).arg(at("xray.features")).arg("--out").arg(at(out));
        command.arg("--xgboost").arg(at("no folder/libxgboost.so"));
        command
    };
    let told = succeed(&mut classify("all")).stderr;
    for words in
        ["xgboost: left out, the others run", "no folder/libxgboost.so", "pip install xgboost-cpu", "THORAX_XGBOOST"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let others = ["adaboost", "knn", "mlp", "naive-bayes", "random-forest", "svm-polynomial", "svm-rbf"];
    assert_eq!(names(&at("all/predictions")), others);
    let mut report = train();
    report.args(["report", "--resamples", "50", "--run"]).arg(at("all")).arg("--out").arg(at("report"));
    succeed(&mut report);
    let page = fs::read_to_string(at("report/report.md")).unwrap();
    assert!(page.contains("| XGBoost | not run: pip install xgboost-cpu | – |"), "{page}");
    assert!(page.contains("XGBoost did not run: "), "{page}");

    // Asked for by name, it is no help that there are others.
    refused(classify("alone").args(["--only", "xgboost"]), &["no folder/libxgboost.so", "pip install xgboost-cpu"]);
}
