#!/bin/sh
# Lays out what the image needs besides shopfleet: git, what git needs to reach
# an https remote, and certificates. It runs in the Dockerfile, in a Debian that
# has git and ca-certificates installed.
#
#   image-rootfs.sh DIRECTORY
#
# Debian's git is 45 MB with what it pulls in, most of it commands that nothing
# here runs. There is no shell in the image: a hook, an alias or a filter that a
# workspace brings along has nothing to be run by. Security rests on that: the
# step's credentials are in the environment of the image's first process, which
# is root, and code that ran beside it could read them. shopfleet refuses
# build.command in the action; the missing shell is the second wall. Do not add one.
set -eu
root=$1

mkdir -p "$root/tmp" "$root/etc/ssl/certs" "$root/usr/bin" "$root/usr/lib/git-core" \
  "$root/usr/share/git-core/templates" "$root/var/lib/dpkg/status.d"
chmod 1777 "$root/tmp"

# Every other command of git that we use is built into git itself.
cp /usr/bin/git "$root/usr/bin/git"
ln -s ../../bin/git "$root/usr/lib/git-core/git"
cp /usr/lib/git-core/git-remote-http "$root/usr/lib/git-core/git-remote-http"
ln -s git-remote-http "$root/usr/lib/git-core/git-remote-https"

# The libraries and the loader, where the loader looks for them. What serves
# names (files, dns) is in libc.
libraries=$(ldd /usr/bin/git /usr/lib/git-core/git-remote-http | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
for library in $libraries; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
cp -L /etc/os-release "$root/etc/os-release"
echo 'root:x:0:0:root:/root:/sbin/nologin' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

# Whose files these are, for scanners of vulnerabilities (they read status.d) and
# for people: the licences. dpkg knows a library by its real name or by the one
# from before /lib became a link.
packages=$(
  echo ca-certificates
  for file in /usr/bin/git $libraries; do
    real=$(readlink -f "$file")
    { dpkg -S "$real" || dpkg -S "${real#/usr}" || dpkg -S "$file"; } 2>/dev/null | head -n 1 | cut -d: -f1
  done
)
for package in $(echo "$packages" | sort -u); do
  dpkg-query -s "$package" > "$root/var/lib/dpkg/status.d/$package"
  if [ -e "/usr/share/doc/$package/copyright" ]; then
    mkdir -p "$root/usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
  fi
done
