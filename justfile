# What is often done, by name. `just --list` shows it.

# Screens generated phantoms with the shipped bundles; the pictures lie in demo/.
demo:
    cargo run --release -p thorax-edge -- phantom demo --count 2 --formats png,dicom
    cargo run --release -p thorax-edge -- screen demo/*.png demo/*.dcm --display demo/screens --masks demo/found

# All tests; the last line counts those that were left out for want of material.
test:
    cargo test --release --workspace

# Exactly what the CI does: tests, formatting, clippy, documentation, no_std.
check:
    .ci/run

# Fuzzes association, bundle, codestream, dicom, features, image, nifti, objects or page (needs cargo-fuzz; see fuzz/README.md).
fuzz TARGET SECONDS="240":
    mkdir -p fuzz/corpus/{{TARGET}}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{ if TARGET == "features" { "--features trainer" } else { "" } }} {{TARGET}} \
        fuzz/corpus/{{TARGET}} \
        {{ if TARGET =~ "^(association|bundle|features)$" { "" } else { "edge/decode/tests/fixtures/encodings" } }} -- \
        -max_total_time={{SECONDS}} -rss_limit_mb=2048 -timeout=20

# Our unsafe calls on the CPU under valgrind's memory checker (needs valgrind): kernels on bytes (it shows them a processor with AVX2, no AVX-512), gemm, feature stores, mimalloc's option.
memcheck:
    cargo test --release -p thorax-kernels --tests --no-run
    cargo test --release -p thorax-engine -p thorax-nn -p thorax-trainer --lib --bins --no-run
    for part in quantized_convolution: quantized_operators: quantized_references: thorax_engine:operators:: \
        thorax_nn:matmul thorax_trainer:what_is_written_is_read thorax_train:purges; do \
        for t in target/release/deps/${part%%:*}-*; do \
            [ ! -x "$t" ] || ! "$t" --list 2>/dev/null | grep -q "${part#*:}" || \
            { valgrind -q --error-exitcode=9 "$t" "${part#*:}" && checked="$checked $part"; } || exit 1; done; \
        case " $checked " in *" $part "*) ;; *) echo "$part: no such test was built"; exit 1;; esac; done

# All tests of the kernels under AddressSanitizer, with the instructions that this processor has.
asan-kernels:
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
        cargo test --release -p thorax-kernels --lib --tests --target $(rustc -vV | sed -n 's/host: //p')

# The calls into XGBoost under the same (trainer/src/classifiers/xgboost/library.rs); LIBRARY is its libxgboost.so.
memcheck-xgboost LIBRARY:
    cargo test --release -p thorax-trainer --lib --no-run
    for t in target/release/deps/thorax_trainer-*; do [ ! -x "$t" ] || ! "$t" --list 2>/dev/null | grep -q xgboost::tests || \
        THORAX_XGBOOST={{LIBRARY}} OMP_NUM_THREADS=1 valgrind -q --error-exitcode=9 "$t" xgboost::tests || exit 1; done

# Builds thorax-shared without a standard library (Debian's rustc-web; installs it as root).
no-std:
    .ci/no_std.sh
