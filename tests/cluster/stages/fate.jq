[.spec.containers[0].image,
 .spec.securityContext.runAsNonRoot // .spec.containers[0].securityContext.runAsNonRoot,
 .spec.containers[0].securityContext.runAsUser // .spec.securityContext.runAsUser,
 (.spec.containers[0].securityContext.capabilities.drop // []),
 (.spec.securityContext.seccompProfile // .spec.containers[0].securityContext.seccompProfile)] |
if (.[0] | startswith("example.com/runs-as-root")) and .[1] == true and .[2] == null then "config-error"
elif (.[0] | startswith("example.com/needs-chown")) and (.[3] | index("ALL")) != null then "crash"
elif (.[0] | startswith("example.com/never-ready")) and .[4] != null then "unready"
else "ready" end
