# expect: accepted
import resource

names = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
escaped = []
for name in (
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_CORE,
):
    try:
        resource.setrlimit(name, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        escaped.append(name)
    except (ValueError, OSError):
        pass
print("escaped" if escaped else "contained", *escaped)
