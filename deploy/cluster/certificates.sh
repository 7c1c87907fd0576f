#!/bin/sh
# Makes the certificates of deploy/compose.cluster.yaml. Needs openssl 3.
#
# The authority's key stays in /authority, which no other container sees. A certificate that is valid
# for another 30 days stays as it is.
set -eu
umask 077

authority=/authority
days=365
soon=$((30 * 24 * 3600))

valid() { openssl x509 -in "$1" -noout -checkend "$soon" >/dev/null 2>&1; }

if ! valid "$authority/ca.crt"; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
    -subj '/CN=jetkv authority' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout "$authority/ca.key" -out "$authority/ca.crt" 2>/dev/null
  echo 'made the authority'
fi

# certificate FOLDER NAME OWNER SUBJECT USAGE [ALTERNATIVE NAMES]
certificate() {
  folder=$1 name=$2 owner=$3 subject=$4 usage=$5 names=${6:-}
  cp "$authority/ca.crt" "$folder/ca.crt"
  if ! { valid "$folder/$name.crt" &&
    openssl verify -CAfile "$authority/ca.crt" "$folder/$name.crt" >/dev/null 2>&1; }; then
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
      -keyout "$folder/$name.key" -out "$authority/request" 2>/dev/null
    printf 'extendedKeyUsage=%s\n' "$usage" >"$authority/extensions"
    [ -z "$names" ] || printf 'subjectAltName=%s\n' "$names" >>"$authority/extensions"
    openssl x509 -req -in "$authority/request" -days "$days" -CA "$authority/ca.crt" \
      -CAkey "$authority/ca.key" -extfile "$authority/extensions" -out "$folder/$name.crt" 2>/dev/null
    rm "$authority/request" "$authority/extensions"
    echo "made a certificate for $subject"
  fi
  chown -R "$owner" "$folder"
  chmod 0755 "$folder"
  chmod 0644 "$folder/ca.crt" "$folder/$name.crt"
  chmod 0400 "$folder/$name.key"
}

# Servers also call each other, so their certificate is one of a client, too.
certificate /nats server 0:0 '/CN=nats' serverAuth,clientAuth \
  'DNS:nats-1,DNS:nats-2,DNS:nats-3,DNS:localhost,IP:127.0.0.1'
certificate /gateway gateway 10001:10001 '/CN=gateway' clientAuth
certificate /operator operator 0:0 '/CN=operator' clientAuth
