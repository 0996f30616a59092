//! Why a system does not let its users make namespaces, and how that is changed.

use std::fs;
use std::io;
use std::path::Path;

use nix::libc;

/// The settings that decide, as far as this system has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `user.max_user_namespaces`.
    max_user: Option<u64>,
    /// `user.max_net_namespaces`.
    max_net: Option<u64>,
    /// `user.max_mnt_namespaces`.
    max_mnt: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, of Debian's and Arch's kernels.
    userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu since 23.10.
    apparmor: Option<u64>,
    /// A seccomp filter is on this process.
    seccomp: bool,
}

impl Settings {
    /// Reads them below `proc`, which is `/proc` but in tests.
    pub(super) fn read(proc: &Path) -> Settings {
        let number = |name: &str| {
            let text = fs::read_to_string(proc.join("sys").join(name)).ok()?;
            text.trim().parse().ok()
        };
        let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
        let seccomp = status.lines().find_map(|l| l.strip_prefix("Seccomp:"));
        Settings {
            max_user: number("user/max_user_namespaces"),
            max_net: number("user/max_net_namespaces"),
            max_mnt: number("user/max_mnt_namespaces"),
            userns_clone: number("kernel/unprivileged_userns_clone"),
            apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
            seccomp: seccomp.is_some_and(|mode| mode.trim() == "2"),
        }
    }

    /// What to do about `error`, which making a namespace or something in it met with.
    pub(super) fn advice(&self, error: &io::Error) -> Option<String> {
        let errno = error.raw_os_error()?;
        let limit = |name: &str, value: Option<u64>| {
            let setting = format!("the setting user.{name} is 0");
            (value == Some(0)).then(|| format!("{setting}: as root, `sysctl -w user.{name}=15000`"))
        };
        let none_left = || {
            limit("max_user_namespaces", self.max_user)
                .or_else(|| limit("max_net_namespaces", self.max_net))
                .or_else(|| limit("max_mnt_namespaces", self.max_mnt))
        };
        match errno {
            libc::ENOSPC | libc::EUSERS => none_left().or_else(|| {
                Some(
                    "the limit of namespaces is reached: see user.max_user_namespaces and \
                     user.max_net_namespaces"
                        .to_owned(),
                )
            }),
            libc::EPERM | libc::EACCES => none_left().or_else(|| self.forbidden()),
            libc::ENOSYS | libc::EINVAL => {
                Some("this kernel was built without user or network namespaces".to_owned())
            }
            _ => None,
        }
    }

    fn forbidden(&self) -> Option<String> {
        let say = |text: &str| Some(text.to_owned());
        if self.userns_clone == Some(0) {
            return say(
                "the setting kernel.unprivileged_userns_clone is 0: as root, `sysctl -w \
                 kernel.unprivileged_userns_clone=1`",
            );
        }
        if self.apparmor == Some(1) {
            return say(
                "the setting kernel.apparmor_restrict_unprivileged_userns is 1: as root, `sysctl -w \
                 kernel.apparmor_restrict_unprivileged_userns=0`, or give this program an AppArmor \
                 profile with `userns,`",
            );
        }
        if self.seccomp {
            return say(
                "a seccomp filter is on this process, as containers have it: docker and podman want \
                 `--security-opt seccomp=unconfined`, or a profile that allows unshare and mount",
            );
        }
        say("a security module or a chroot forbids namespaces to this user")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    /// A `/proc` with these files only.
    fn settings(name: &str, files: &[(&str, &str)]) -> Settings {
        let root = std::env::temp_dir().join(format!("weir-proc-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let settings = Settings::read(&root);
        let _ = fs::remove_dir_all(&root);
        settings
    }

    #[test]
    fn the_setting_that_forbids_is_named_with_its_remedy() {
        let cases = [
            (
                "sys/user/max_user_namespaces",
                "0\n",
                libc::ENOSPC,
                "user.max_user_namespaces=15000",
            ),
            (
                "sys/user/max_net_namespaces",
                "0\n",
                libc::ENOSPC,
                "user.max_net_namespaces=15000",
            ),
            (
                "sys/kernel/unprivileged_userns_clone",
                "0\n",
                libc::EPERM,
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                "sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                libc::EACCES,
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (
                "self/status",
                "Name:\tx\nSeccomp:\t2\n",
                libc::EPERM,
                "seccomp",
            ),
        ];
        for (i, (file, text, code, remedy)) in cases.into_iter().enumerate() {
            let settings = settings(&i.to_string(), &[(file, text)]);
            let advice = settings.advice(&errno(code)).unwrap();
            assert!(advice.contains(remedy), "{file}: {advice}");
        }
    }

    #[test]
    fn a_setting_that_allows_is_not_blamed() {
        let settings = settings(
            "allows",
            &[
                ("sys/user/max_user_namespaces", "95000\n"),
                ("sys/kernel/unprivileged_userns_clone", "1\n"),
                ("sys/kernel/apparmor_restrict_unprivileged_userns", "0\n"),
                ("self/status", "Seccomp:\t0\n"),
            ],
        );
        let advice = settings.advice(&errno(libc::EPERM)).unwrap();
        assert!(
            !advice.contains("setting") && !advice.contains("seccomp"),
            "{advice}"
        );
        assert_eq!(settings.advice(&errno(libc::EIO)), None);
    }
}
