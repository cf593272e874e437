(.spec.securityContext // {}) as $pod |
(.spec.hostUsers == false) as $inside |
((.spec.nodeName // "") | startswith("mapped")) as $mapped |
[((.spec.initContainers // []) + .spec.containers)[] |
 .image as $image | (.securityContext // {}) as $own |
 ((.command // []) + (.args // []) | join(" ")) as $runs |
 ((.volumeMounts // []) | map(.mountPath)) as $mounts |
 (if $own.runAsNonRoot != null then $own.runAsNonRoot else ($pod.runAsNonRoot // false) end) as $nonroot |
 (if $own.runAsUser != null then $own.runAsUser else $pod.runAsUser end) as $asked |
 (if ($image | startswith("example.com/runs-as-root")) then "none"
  else (($image | capture("/user-(?<user>[a-z0-9]+)") | .user) // "") end) as $user |
 (if $asked != null then $asked
  elif $user == "none" or $user == "root" then 0
  elif $user == "" then null
  elif ($user | test("^[0-9]+$")) then ($user | tonumber)
  else 101 end) as $uid |
 ((($own.capabilities // {}).drop // []) | index("ALL") != null) as $dropped |
 ((($own.capabilities // {}).add // []) | index("NET_BIND_SERVICE") != null) as $binding |
 (($pod.sysctls // []) | map(select(.name == "net.ipv4.ip_unprivileged_port_start")) | length > 0) as $open |
 (($own.seccompProfile // $pod.seccompProfile // {}).type == "RuntimeDefault") as $filtered |
 if $nonroot and $asked == 0 then "config-error"
 elif $nonroot and $asked == null and ($uid == 0 or ($user | test("^[a-z]+$"))) then "config-error"
 elif ($image | startswith("example.com/needs-chown")) and $dropped then "crash"
 elif ($image | test("chowns")) and ($uid != 0 or $dropped) then "crash"
 elif ($runs | test("chown")) and ($uid != 0 or $dropped) then "crash"
 elif ($runs | test("sudo")) and $own.allowPrivilegeEscalation == false then "crash"
 elif ($runs | test("unshare")) and $filtered then "crash"
 elif ($image | test("binds-80")) and ($open | not) and ($uid != 0 or ($dropped and ($binding | not))) then "crash"
 elif ($image | test("writes-cache")) and $uid != 0 and ($mounts | index("/var/cache/app") == null) then "crash"
 elif ($image | test("writes-volume")) and $uid != 0 and $pod.fsGroup == null then "crash"
 elif ($image | startswith("example.com/never-ready")) and $filtered then "unready"
 else "ready" end] |
if $inside and ($mapped | not) then "no-sandbox"
elif index("config-error") != null then "config-error"
elif index("crash") != null then "crash"
elif index("unready") != null then "unready"
else "ready" end
