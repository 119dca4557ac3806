#!/usr/bin/env bash
# A real Orthanc with its DICOMweb plugin, on loopback, with a configuration and a storage of its own in FOLDER.
#
#   tests/orthanc.sh FOLDER AE_TITLE DICOM_PORT HTTP_PORT [NAME=AE_TITLE:PORT]...
#
# Each NAME is a modality on this machine that Orthanc knows. Its REST interface and DICOMweb (/dicom-web) take the user `thorax`
# with the password `phantom`, without TLS: the https of Debian 12's Orthanc 1.10.1 closes each connection without an answer.
#
# With THORAX_DICOM_TLS=DIR its DICOM port speaks TLS, and so does it with each modality: DIR/orthanc.pem and DIR/orthanc.key are its
# certificate and key, and whoever talks with it has one of DIR/ca.pem.
#
# It becomes Orthanc, so that whoever started it ends it by its process id, and it ends with whoever started it. What FOLDER holds
# stays: started again, it has what it had. As root on Debian, Orthanc is installed where it is missing.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: tests/orthanc.sh FOLDER AE_TITLE DICOM_PORT HTTP_PORT [NAME=AE_TITLE:PORT]..." >&2; exit 2; }
folder=$1 title=$2 dicom=$3 http=$4
shift 4

plugin=/usr/share/orthanc/plugins/libOrthancDicomWeb.so
if ! [ -x /usr/sbin/Orthanc ] || ! [ -e "$plugin" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "as root: apt-get install --no-install-recommends orthanc orthanc-dicomweb" >&2; exit 2; }
    apt-get update -qq
    # Debian's service is not started by policy in a container; elsewhere it is stopped, since it has ports of its own.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends orthanc orthanc-dicomweb
fi

mkdir -p "$folder/storage"
modalities="" secured=false
[ -z "${THORAX_DICOM_TLS:-}" ] || secured=true
for modality in "$@"; do
    name=${modality%%=*} rest=${modality#*=}
    modalities+="${modalities:+, }\"$name\": {\"AET\": \"${rest%%:*}\", \"Host\": \"127.0.0.1\", \"Port\": ${rest##*:}, \"UseDicomTls\": $secured}"
done
tls=""
if [ -n "${THORAX_DICOM_TLS:-}" ]; then
    tls="\"DicomTlsEnabled\": true, \"DicomTlsCertificate\": \"$THORAX_DICOM_TLS/orthanc.pem\", \"DicomTlsPrivateKey\": \"$THORAX_DICOM_TLS/orthanc.key\", \"DicomTlsTrustedCertificates\": \"$THORAX_DICOM_TLS/ca.pem\","
fi
cat >"$folder/orthanc.json" <<CONFIG
{
    "Name": "Thorax's tests",
    "StorageDirectory": "$folder/storage",
    "IndexDirectory": "$folder/storage",
    "Plugins": ["$plugin"],
    "DicomAet": "$title",
    "DicomPort": $dicom,
    "DicomCheckCalledAet": true,
    "DicomAlwaysAllowStore": true,
    $tls
    "DicomModalities": {$modalities},
    "HttpPort": $http,
    "RemoteAccessAllowed": false,
    "AuthenticationEnabled": true,
    "RegisteredUsers": {"thorax": "phantom"},
    "OverwriteInstances": false,
    "SaveJobs": false,
    "DicomWeb": {"Enable": true, "Root": "/dicom-web/", "EnableWado": false}
}
CONFIG
exec setpriv --pdeathsig KILL /usr/sbin/Orthanc --verbose "$folder/orthanc.json" >>"$folder/orthanc.log" 2>&1
