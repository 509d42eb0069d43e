//! Paging, by hand: octocrab sends the address of a `Link` header without authorization wherever the
//! API is not api.github.com.

/// Path and query of an absolute address, below the base path of the API. Host and scheme are thrown
/// away: a token goes to the configured host only.
pub(in crate::github) fn same_host(url: &str, api_path: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
    path.strip_prefix(api_path).filter(|p| p.starts_with('/')).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::same_host;

    #[test]
    fn the_host_is_thrown_away() {
        assert_eq!(
            same_host("https://api.github.com/repositories/1/x?page=2", ""),
            "/repositories/1/x?page=2"
        );
        assert_eq!(same_host("https://evil.example/a?b=c", ""), "/a?b=c");
        assert_eq!(
            same_host("https://ghe.example/api/v3/repos/o/r?after=x", "/api/v3"),
            "/repos/o/r?after=x"
        );
        assert_eq!(same_host("https://ghe.example", "/api/v3"), "/");
    }
}
