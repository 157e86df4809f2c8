#!/bin/sh
# Starts the Tomcat of the base, or of the machine, with what is below /app: CATALINA_BASE is the working directory.
# What is where, and what may be said otherwise: docs/java.md of Barge.

say() {
    echo "barge: $*" >&2
}

is_tomcat() {
    [ -n "$1" ] && [ -f "$1/bin/bootstrap.jar" ] && [ -f "$1/bin/catalina.sh" ]
}

wanted=@WANTED@
if [ -n "$CATALINA_HOME" ]; then
    if ! is_tomcat "$CATALINA_HOME"; then
        say "CATALINA_HOME is $CATALINA_HOME, and there is no Tomcat: no bin/bootstrap.jar and bin/catalina.sh"
        exit 1
    fi
else
    # The one that the classes want first, where there are several.
    case $wanted in
        javax) places="/usr/local/tomcat /opt/tomcat /usr/share/tomcat9 /usr/share/tomcat11 /usr/share/tomcat10 /usr/share/tomcat" ;;
        *) places="/usr/local/tomcat /opt/tomcat /usr/share/tomcat11 /usr/share/tomcat10 /usr/share/tomcat9 /usr/share/tomcat" ;;
    esac
    for place in $places; do
        if is_tomcat "$place"; then
            CATALINA_HOME=$place
            break
        fi
    done
    if [ -z "$CATALINA_HOME" ]; then
        say "no Tomcat is found in $places"
        say "hint: a base with Tomcat (build: {base: ...} in barge.yaml), or CATALINA_HOME where it is"
        exit 1
    fi
fi
CATALINA_BASE=$(pwd)
export CATALINA_HOME CATALINA_BASE

# The classes' servlet API and Tomcat's. The names in a jar are there to read as they are.
has_jakarta() {
    grep -q 'jakarta/servlet/' "$CATALINA_HOME"/lib/*servlet-api*.jar 2>/dev/null
}
has_javax() {
    grep -q 'javax/servlet/' "$CATALINA_HOME"/lib/*servlet-api*.jar 2>/dev/null
}
case $wanted in
    javax)
        if has_jakarta; then
            say "warning: the application's classes use javax.servlet, and the Tomcat in $CATALINA_HOME has jakarta.servlet (10 and later)"
            say "hint: a base with Tomcat 9, or the application built for Jakarta EE"
        fi ;;
    jakarta)
        if ! has_jakarta && has_javax; then
            say "warning: the application's classes use jakarta.servlet, and the Tomcat in $CATALINA_HOME has javax.servlet (9 and earlier)"
            say "hint: a base with Tomcat 10 or later"
        fi ;;
esac

# What of Tomcat's own configuration is not in conf/ comes from the base. Debian keeps it in /etc, or in skel/ for users.
theirs=
for place in "$CATALINA_HOME/conf" "/etc/${CATALINA_HOME##*/}" "$CATALINA_HOME/etc" "$CATALINA_HOME/skel/conf"; do
    if [ -f "$place/web.xml" ]; then
        theirs=$place
        break
    fi
done
if [ -z "$theirs" ]; then
    say "the Tomcat in $CATALINA_HOME has no conf/web.xml"
    exit 1
fi
mkdir -p temp work logs || exit 1
for file in "$theirs"/*; do
    # Contexts of the base's own applications are in directories.
    if [ -f "$file" ] && [ -r "$file" ] && [ ! -e "conf/${file##*/}" ]; then
        ln -sf "$file" "conf/${file##*/}" || exit 1
    fi
done

# Not in CATALINA_OPTS: a setenv.sh of the base may set that anew, and JAVA_OPTS would stand before it and lose. catalina.sh has the log
# manager before both, as several words.
manager=${LOGGING_MANAGER:--Djava.util.logging.manager=org.apache.juli.ClassLoaderLogManager}
LOGGING_MANAGER="@barge/java.args -Dbarge.port=${PORT:-8080} -Dbarge.host=${HOST:-0.0.0.0} $manager"
export LOGGING_MANAGER
exec "$CATALINA_HOME/bin/catalina.sh" run -config "${TOMCAT_SERVER_XML:-conf/server.xml}"
